use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::IntoResponse;
use tokio::net::TcpListener;

use super::*;
use crate::sample::Sample;

/// A server that records requests and answers as configured.
#[derive(Clone)]
struct Receiver {
    status: u16,
    headers: Vec<(&'static str, String)>,
    body: String,
    told: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
}

impl Receiver {
    fn answering(status: u16, body: &str) -> Self {
        Self { status, headers: Vec::new(), body: body.to_owned(), told: Arc::default() }
    }

    async fn start(&self) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new().fallback(answer).with_state(self.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    fn told(&self) -> Vec<(HeaderMap, Bytes)> {
        self.told.lock().unwrap().clone()
    }
}

async fn answer(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) -> impl IntoResponse {
    receiver.told.lock().unwrap().push((headers, body));
    let status = StatusCode::from_u16(receiver.status).unwrap();
    let mut response = (status, receiver.body).into_response();
    for (name, value) in receiver.headers {
        response.headers_mut().insert(name, value.parse().unwrap());
    }
    response
}

/// Returns a matcher without proxies, whatever the environment.
fn straight() -> Matcher {
    Matcher::builder().build()
}

fn to(address: SocketAddr) -> Webhook {
    Webhook::new(format!("http://{address}/secret-path?token=secret"), None, &straight())
}

async fn answered(status: u16, body: &str) -> Result<(), Failure> {
    let receiver = Receiver::answering(status, body);
    let address = receiver.start().await;
    to(address).deliver(&Sample::with_labels(&[]).attempt()).await
}

#[tokio::test]
async fn the_event_is_posted_as_json_with_headers_that_say_what_it_is() {
    let receiver = Receiver::answering(204, "");
    let webhook = to(receiver.start().await);
    let mut sample = Sample::with_labels(&[("a", "b")]);
    sample.handler.name = "töld.x".to_owned();
    let mut attempt = sample.attempt();
    (attempt.number, attempt.redelivered) = (2, true);
    webhook.deliver(&attempt).await.unwrap();
    let told = receiver.told();
    let (headers, body) = told.first().unwrap();
    let header = |name: &str| headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    assert_eq!(header("content-type").unwrap(), "application/json");
    assert_eq!(header("longshore-event").unwrap(), "start");
    assert_eq!(header("longshore-attempt").unwrap(), "2");
    assert_eq!(header("longshore-redelivered").unwrap(), "1");
    assert_eq!(header("webhook-id").unwrap(), "17-c0c0-start-t_ld_x");
    assert!(header("user-agent").unwrap().starts_with("longshore/"));
    assert_eq!(header("webhook-signature"), None);
    let json: serde_json::Value = serde_json::from_slice(body).unwrap();
    assert_eq!(
        json,
        serde_json::json!({
            "id": "17-c0c0-start", "event": "start", "at": "2023-11-14T22:13:20Z", "node": "h1",
            "handler": "töld.x", "attempt": 2, "redelivered": true, "synthetic": false, "made_up": false, "attributes": {},
            "container": {"id": "c0".repeat(32), "name": "web", "image": "nginx:1", "labels": {"a": "b"}},
            "inspection": {"Id": "c0c0"},
        })
    );
}

#[tokio::test]
async fn a_request_is_signed_with_the_key_that_the_file_has_at_the_moment() {
    let receiver = Receiver::answering(200, "ok");
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("key");
    let webhook =
        Webhook::new(format!("http://{}/", receiver.start().await), Some(path.clone()), &straight());
    let sample = Sample::with_labels(&[]);
    let missing = webhook.deliver(&sample.attempt()).await.unwrap_err();
    assert!(!missing.is_permanent() && missing.why.contains("No such file"), "{missing:?}");
    assert_eq!(receiver.told().len(), 0, "nothing is sent unsigned");
    for key in ["the first key, of 24 bytes and more", "the second key, of 24 bytes and more"] {
        std::fs::write(&path, key).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        webhook.deliver(&sample.attempt()).await.unwrap();
        let (headers, body) = receiver.told().pop().unwrap();
        let header = |name: &str| headers.get(name).unwrap().to_str().unwrap().to_owned();
        let signed =
            [format!("{}.{}.", header("webhook-id"), header("webhook-timestamp")).as_bytes(), &body].concat();
        std::fs::write(dir.path().join("signed"), signed).unwrap();
        // OpenSSL is independent of our implementation.
        let line = format!(
            "openssl dgst -sha256 -mac HMAC -macopt 'key:{key}' -binary {}/signed | base64",
            dir.path().display()
        );
        let output = tokio::process::Command::new("sh").args(["-c", &line]).output().await.unwrap();
        let expected = format!("v1,{}", String::from_utf8_lossy(&output.stdout).trim());
        assert_eq!(header("webhook-signature"), expected);
        let age = jiff::Timestamp::now().as_second() - header("webhook-timestamp").parse::<i64>().unwrap();
        assert!((0..10).contains(&age), "{age}");
    }
}

#[tokio::test]
async fn the_answers_status_says_whether_another_time_is_of_use() {
    for status in [200, 201, 202, 204] {
        assert_eq!(answered(status, "").await, Ok(()), "{status}");
    }
    for (status, for_good) in [
        (301, true),
        (302, true),
        (304, true),
        (400, true),
        (401, true),
        (404, true),
        (408, false),
        (410, true),
        (422, true),
        (425, false),
        (429, false),
        (500, false),
        (503, false),
        (599, false),
    ] {
        let failure = answered(status, "").await.unwrap_err();
        assert_eq!(failure.is_permanent(), for_good, "{status}");
        assert!(failure.why.contains(&status.to_string()), "{failure:?}");
    }
}

#[test]
fn a_receiver_says_when_it_wants_to_be_asked_again_in_seconds_or_by_date_and_never_for_more_than_an_hour() {
    let now = httpdate::parse_http_date("Sat, 21 Nov 2026 12:00:00 GMT").unwrap();
    for (text, seconds) in [
        ("120", 120),
        (" 0 ", 0),
        ("3601", 3600),
        ("99999999999999999999999999", 3600),
        ("-1", 0),
        ("1.5", 0),
        ("soon", 0),
        ("", 0),
        ("Sat, 21 Nov 2026 12:00:30 GMT", 30),
        ("Saturday, 21-Nov-26 12:00:30 GMT", 30),
        ("Sat, 21 Nov 2026 11:00:00 GMT", 0),
        ("Mon, 21 Nov 2050 12:00:00 GMT", 3600),
    ] {
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, text.parse().unwrap())]);
        assert_eq!(wait_asked_for(&headers, now), Duration::from_secs(seconds), "{text:?}");
    }
    assert_eq!(wait_asked_for(&HeaderMap::new(), now), Duration::ZERO);
}

#[tokio::test]
async fn an_answer_that_may_pass_says_how_long_the_receiver_wants_to_be_left_alone() {
    for (status, wait) in [(429, 120), (503, 120), (404, 0)] {
        let mut receiver = Receiver::answering(status, "");
        receiver.headers.push(("retry-after", "120".to_owned()));
        let webhook = to(receiver.start().await);
        let failure = webhook.deliver(&Sample::with_labels(&[]).attempt()).await.unwrap_err();
        assert_eq!(failure.not_before, Duration::from_secs(wait), "{status}");
    }
}

#[tokio::test]
async fn a_failure_has_the_beginning_of_the_answer_and_not_the_urls_secrets() {
    let body = format!("no such\n\thook\u{1b}[31m {}", "x".repeat(1024 * 1024));
    let failure = answered(404, &body).await.unwrap_err();
    assert!(
        failure.why.starts_with("the answer was 404 Not Found: no such hook\\u{1b}[31m xxx"),
        "{failure:?}"
    );
    assert!(failure.why.len() < 400);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let failure = to(nobody).deliver(&Sample::with_labels(&[]).attempt()).await.unwrap_err();
    assert!(!failure.is_permanent() && failure.why.contains("refused"), "{failure:?}");
    assert!(!failure.why.contains("secret"), "{failure:?}");
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Receiver::answering(200, "");
    let mut receiver = Receiver::answering(307, "");
    receiver.headers.push(("location", format!("http://{}/", other.start().await)));
    let failure = to(receiver.start().await).deliver(&Sample::with_labels(&[]).attempt()).await.unwrap_err();
    assert!(failure.is_permanent() && failure.why.contains("redirects are not followed"), "{failure:?}");
    assert_eq!(other.told().len(), 0);
}

#[tokio::test]
async fn a_server_that_does_not_answer_costs_its_timeout_and_no_more() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mut sample = Sample::with_labels(&[]);
    sample.handler.delivery.timeout = Duration::from_millis(300);
    let failure = to(listener.local_addr().unwrap()).deliver(&sample.attempt()).await.unwrap_err();
    assert_eq!(failure, Failure::passing("no answer within 300ms"));
}

#[tokio::test]
async fn a_url_that_nothing_can_be_sent_to_is_wrong_for_good() {
    for url in ["", "no url", "/path", "ftp://a/", "http://", "http://user:password@127.0.0.1/"] {
        let webhook = Webhook::new(url.to_owned(), None, &straight());
        let failure = webhook.deliver(&Sample::with_labels(&[]).attempt()).await.unwrap_err();
        assert!(failure.is_permanent() && failure.why.starts_with("its URL"), "{url:?}: {failure:?}");
        assert!(!failure.why.contains("password"));
    }
}

/// A tinyproxy that admits `user` with the password `pass-word`, and its log.
struct Proxy {
    address: SocketAddr,
    dir: tempfile::TempDir,
    _process: tokio::process::Child,
}

impl Proxy {
    async fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let address = free_port().await;
        let config = format!(
            "Listen 127.0.0.1\nPort {}\nTimeout 60\nBasicAuth user pass-word\nLogFile \"{}/log\"\n",
            address.port(),
            dir.path().display()
        );
        std::fs::write(dir.path().join("config"), config).unwrap();
        let mut command = tokio::process::Command::new("tinyproxy");
        command.args(["-d", "-c"]).arg(dir.path().join("config")).stdout(Stdio::null());
        let process = command.kill_on_drop(true).spawn().unwrap();
        until_open(address).await;
        Self { address, dir, _process: process }
    }

    fn url(&self, user: &str) -> String {
        format!("http://{user}{}", self.address)
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("log")).unwrap()
    }
}

async fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

async fn until_open(address: SocketAddr) {
    let opening = async {
        while tokio::net::TcpStream::connect(address).await.is_err() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    timeout(Duration::from_secs(30), opening).await.expect("it listens");
}

#[tokio::test]
async fn a_proxy_is_told_the_whole_url_and_passes_the_event_on() {
    let receiver = Receiver::answering(200, "");
    let address = receiver.start().await;
    let proxy = Proxy::start().await;
    let url = format!("http://{address}/secret-path?token=secret");
    let sample = Sample::with_labels(&[]);
    let through = |proxies: Matcher| Webhook::new(url.clone(), None, &proxies);
    let named = |user: &str| Matcher::builder().http(proxy.url(user));

    let webhook = through(named("user:pass%2Dword@").build());
    webhook.deliver(&sample.attempt()).await.unwrap();
    webhook.deliver(&sample.attempt()).await.unwrap();
    let told = receiver.told();
    assert!(told.len() == 2 && told.iter().all(|(headers, _)| headers.contains_key("via")), "{told:?}");
    assert!(!told[0].0.contains_key("proxy-authorization"), "the proxy's password is the proxy's alone");
    let call = webhook.describe(&sample.attempt());
    assert_eq!(call.call.last().unwrap(), &format!("through the proxy http://{}/", proxy.address));

    let failure = through(named("").build()).deliver(&sample.attempt()).await.unwrap_err();
    assert!(failure.why.starts_with("the answer was 407 Proxy"), "{failure:?}");
    assert_eq!(receiver.told().len(), 2);
    through(named("").no("127.0.0.0/8").build()).deliver(&sample.attempt()).await.unwrap();
    assert!(!receiver.told()[2].0.contains_key("via"), "NO_PROXY");

    let nobody = free_port().await;
    let failure = through(Matcher::builder().all(format!("http://u:secret@{nobody}")).build());
    let failure = failure.deliver(&sample.attempt()).await.unwrap_err();
    let expected = format!("through the proxy http://{nobody}/: ");
    assert!(!failure.is_permanent() && failure.why.starts_with(&expected), "{failure:?}");
    assert!(failure.why.contains("refused") && !failure.why.contains("secret"), "{failure:?}");
    let failure = through(Matcher::builder().all("socks5://127.0.0.1:1").build());
    let failure = failure.deliver(&sample.attempt()).await.unwrap_err();
    assert!(!failure.is_permanent() && failure.why.contains("expected http://HOST:PORT"), "{failure:?}");
}

/// A certificate authority and a server certificate that it signed.
const CERTIFICATES: &str = r#"
set -e
openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=lab-ca -keyout ca-key.pem -out ca.pem
openssl req -newkey rsa:2048 -nodes -subj /CN=server -keyout server-key.pem -out server.csr
printf 'subjectAltName=IP:127.0.0.1\nextendedKeyUsage=serverAuth\n' > server.ext
openssl x509 -req -days 2 -in server.csr -CA ca.pem -CAkey ca-key.pem -CAcreateserial -extfile server.ext -out server.pem
cat server.pem server-key.pem > both.pem
"#;

/// Where the child runs of the test below post to.
const POST_TO: &str = "LONGSHORE_TEST_WEBHOOK";

/// Trusted authorities and proxies depend on the process's environment, so this test runs itself again.
#[tokio::test]
async fn tls_is_spoken_with_a_server_whose_authority_is_trusted_and_with_no_other_also_through_a_proxy() {
    if let Ok(url) = std::env::var(POST_TO) {
        let webhook = Webhook::new(url, None, &Matcher::from_env());
        webhook.deliver(&Sample::with_labels(&[]).attempt()).await.unwrap();
        return;
    }
    let receiver = Receiver::answering(200, "");
    let behind = receiver.start().await;
    let dir = tempfile::tempdir().unwrap();
    let mut sh = tokio::process::Command::new("sh");
    let made = sh.args(["-c", CERTIFICATES]).current_dir(dir.path()).output().await.unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let path = |name: &str| dir.path().join(name).display().to_string();
    let address = free_port().await;
    let config = format!(
        "defaults\n mode http\n timeout connect 5s\n timeout client 1m\n timeout server 1m\nlisten hook\n bind {address} ssl crt {} alpn h2,http/1.1\n server hook {behind}\n",
        path("both.pem")
    );
    std::fs::write(path("tls.cfg"), config).unwrap();
    let mut haproxy = tokio::process::Command::new("haproxy");
    haproxy.args(["-db", "-f", &path("tls.cfg")]).stdout(Stdio::null()).stderr(Stdio::null());
    let _haproxy = haproxy.kill_on_drop(true).spawn().unwrap();
    until_open(address).await;
    let name = std::thread::current().name().unwrap().to_owned();
    let again = async |variables: &[(&str, &str)]| {
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args([&name, "--exact"]).env(POST_TO, format!("https://{address}/"));
        for variable in ["SSL_CERT_FILE", "HTTPS_PROXY", "https_proxy", "ALL_PROXY", "all_proxy"] {
            command.env_remove(variable);
        }
        let output = command.envs(variables.iter().copied()).output().await.unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&said).into_owned())
    };
    let (done, said) = again(&[]).await;
    assert!(!done && said.contains("UnknownIssuer") && said.contains("retry: Later"), "{said}");
    assert_eq!(receiver.told().len(), 0);
    let ca = path("ca.pem");
    let trusted = ("SSL_CERT_FILE", ca.as_str());
    let (done, said) = again(&[trusted]).await;
    assert!(done && said.contains("1 passed"), "{said}");
    assert_eq!(receiver.told().len(), 1);

    let proxy = Proxy::start().await;
    let (done, said) = again(&[trusted, ("https_proxy", &proxy.url(""))]).await;
    assert!(!done && said.contains("proxy authorization required"), "{said}");
    let (done, said) = again(&[trusted, ("https_proxy", &proxy.url("user:pass%2Dword@"))]).await;
    assert!(done && said.contains("1 passed"), "{said}");
    assert_eq!(receiver.told().len(), 2);
    assert!(proxy.log().contains(&format!("CONNECT {address}")), "{}", proxy.log());
}
