//! Features of Python's Jinja2 that templates use and minijinja lacks: Python 2's methods of dictionaries,
//! `"%s" % x`, lists that grow, and dictionaries with a default.
//!
//! minijinja's operators and literals cannot be extended, so a template's source is rewritten, token by token.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use minijinja::machinery::{Span, Token, tokenize};
use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Enumerator, Object, ObjectRepr, Value, ValueKind, from_args};
use minijinja::{Environment, Error, ErrorKind, State};
use minijinja_contrib::pycompat;

/// The function that creates a growable list.
const LIST: &str = "python_list";

/// Methods that change a list.
const LIST_METHODS: [&str; 4] = [".append(", ".extend(", ".insert(", ".pop("];

/// Variables that are [`DefaultDict`]s, and how many keys deep.
const DEFAULT_DICTS: [(&str, usize); 2] = [("http_mapping", 3), ("tcp_mapping", 1)];

/// Gives templates Python's methods.
pub(crate) fn install(environment: &mut Environment<'static>) {
    environment.set_unknown_method_callback(method);
    environment.add_function(LIST, |items: Vec<Value>| Value::from_object(List(Mutex::new(items))));
}

fn method(state: &mut State, value: &Value, name: &str, arguments: &[Value]) -> Result<Value, Error> {
    let name = match (value.kind(), name) {
        (ValueKind::Map, "iteritems") => "items",
        (ValueKind::Map, "itervalues") => "values",
        (ValueKind::Map, "iterkeys") => "keys",
        (ValueKind::Map, "has_key") => {
            let (key,): (&Value,) = from_args(arguments)?;
            return Ok(value.get_item(key).is_ok_and(|found| !found.is_undefined()).into());
        }
        _ => name,
    };
    pycompat::unknown_method_callback(state, value, name, arguments)
}

/// Python's `defaultdict` with keys that are strings.
#[derive(Debug)]
pub(crate) struct DefaultDict {
    pub(crate) entries: BTreeMap<String, Value>,
    /// The value of an absent key.
    pub(crate) default: Value,
}

impl Object for DefaultDict {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let key = key.as_str()?;
        Some(self.entries.get(key).unwrap_or(&self.default).clone())
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.entries.keys().map(Value::from).collect())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        match method {
            "has_key" => {
                let (key,): (&str,) = from_args(arguments)?;
                Ok(self.entries.contains_key(key).into())
            }
            "get" => {
                let (key, default): (&str, Option<Value>) = from_args(arguments)?;
                Ok(self.entries.get(key).cloned().or(default).unwrap_or(Value::from(())))
            }
            _ => Err(ErrorKind::UnknownMethod.into()),
        }
    }
}

/// A list that grows while a template is rendered.
#[derive(Debug)]
struct List(Mutex<Vec<Value>>);

impl Object for List {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Seq
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        items.get(key.as_usize()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    fn call_method(
        self: &Arc<Self>,
        _state: &mut State<'_, '_>,
        method: &str,
        arguments: &[Value],
    ) -> Result<Value, Error> {
        let mut items = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match method {
            "append" => items.push(from_args::<(Value,)>(arguments)?.0),
            "extend" => items.extend(from_args::<(Vec<Value>,)>(arguments)?.0),
            "insert" => {
                let (at, item): (usize, Value) = from_args(arguments)?;
                let at = at.min(items.len());
                items.insert(at, item);
            }
            "pop" => {
                let (at,): (Option<usize>,) = from_args(arguments)?;
                let at = at.unwrap_or(items.len().saturating_sub(1));
                if at >= items.len() {
                    return Err(Error::new(
                        ErrorKind::InvalidOperation,
                        "pop from an empty list, or beyond its end",
                    ));
                }
                return Ok(items.remove(at));
            }
            _ => return Err(ErrorKind::UnknownMethod.into()),
        }
        Ok(Value::from(()))
    }
}

/// Returns a template's source, rewritten where minijinja cannot parse it or differs from Python. Line numbers do not
/// change. A source that is not a template is returned unchanged: compiling it reports the error.
pub(crate) fn rewrite(source: &str) -> String {
    let tokens: Result<Vec<(Token, Span)>, Error> =
        tokenize(source, false, SyntaxConfig::default()).collect();
    let Ok(tokens) = tokens else { return source.to_owned() };
    let grows = LIST_METHODS.iter().any(|method| source.contains(method));
    let mut edits = Vec::new();
    for at in 0..tokens.len() {
        let Some((token, span)) = tokens.get(at) else { break };
        match token {
            Token::Mod if matches!(before(&tokens, at), Some(Token::Str(_) | Token::String(_))) => {
                format_operator(&tokens, at, &mut edits);
            }
            Token::BracketOpen if grows && !before(&tokens, at).is_some_and(ends_value) => {
                if let Some(close) = closing(&tokens, at) {
                    edits.push(Edit::insert(span.start_offset, format!("{LIST}(")));
                    edits.push(Edit::insert(end(&tokens, close), ")"));
                }
            }
            Token::Ident("in") => membership(&tokens, at, &mut edits),
            _ => {}
        }
    }
    apply(source, edits)
}

/// A replacement of a piece of the source.
struct Edit {
    start: usize,
    end: usize,
    text: String,
}

impl Edit {
    fn insert(at: u32, text: impl Into<String>) -> Self {
        Self { start: at as usize, end: at as usize, text: text.into() }
    }

    fn replace(span: Span, text: &str) -> Self {
        Self { start: span.start_offset as usize, end: span.end_offset as usize, text: text.to_owned() }
    }
}

fn apply(source: &str, mut edits: Vec<Edit>) -> String {
    edits.sort_by_key(|edit| edit.start);
    let mut rewritten = String::with_capacity(source.len());
    let mut done = 0;
    for edit in edits {
        rewritten.push_str(source.get(done..edit.start).unwrap_or_default());
        rewritten.push_str(&edit.text);
        done = edit.end.max(done);
    }
    rewritten.push_str(source.get(done..).unwrap_or_default());
    rewritten
}

/// Rewrites `"…" % x` and `"…" % (x, y)` to `"…"|format(x)` and `"…"|format(x, y)`.
fn format_operator(tokens: &[(Token, Span)], at: usize, edits: &mut Vec<Edit>) {
    let Some(last) = operand(tokens, at + 1) else { return };
    let Some((_, operator)) = tokens.get(at) else { return };
    let open = at + 1;
    let is_tuple = matches!(tokens.get(open), Some((Token::ParenOpen, _)))
        && closing(tokens, open) == Some(last)
        && has_comma(tokens, open, last);
    if is_tuple && let (Some((_, first)), Some((_, last))) = (tokens.get(open), tokens.get(last)) {
        edits.push(Edit::replace(*operator, "|format"));
        edits.push(Edit::replace(*first, "("));
        edits.push(Edit::replace(*last, ")"));
        return;
    }
    edits.push(Edit::replace(*operator, "|format("));
    edits.push(Edit::insert(end(tokens, last), ")"));
}

/// Rewrites `x in http_mapping` to `x in http_mapping.keys()`, as an absent key has a value there.
fn membership(tokens: &[(Token, Span)], at: usize, edits: &mut Vec<Edit>) {
    let Some((Token::Ident(name), _)) = tokens.get(at + 1) else { return };
    let Some((_, depth)) = DEFAULT_DICTS.iter().find(|(dict, _)| dict == name) else { return };
    let mut last = at + 1;
    let mut keys = 0;
    while let Some((Token::BracketOpen, _)) = tokens.get(last + 1) {
        let Some(close) = closing(tokens, last + 1) else { return };
        last = close;
        keys += 1;
    }
    if keys < *depth && !matches!(tokens.get(last + 1), Some((Token::Dot | Token::Pipe, _))) {
        edits.push(Edit::insert(end(tokens, last), ".keys()"));
    }
}

/// Returns the last token of the operand that begins here: a value with its attributes, items, calls and filters.
fn operand(tokens: &[(Token, Span)], start: usize) -> Option<usize> {
    let mut last = match tokens.get(start)? {
        (Token::Minus, _) => return operand(tokens, start + 1),
        (Token::ParenOpen | Token::BracketOpen | Token::BraceOpen, _) => closing(tokens, start)?,
        (token, _) if ends_value(token) => start,
        _ => return None,
    };
    loop {
        match tokens.get(last + 1) {
            Some((Token::Dot | Token::Pipe, _)) => last += 2,
            Some((Token::BracketOpen | Token::ParenOpen, _)) => last = closing(tokens, last + 1)?,
            _ => return (last < tokens.len()).then_some(last),
        }
    }
}

/// Returns the bracket that closes the one that opens here.
fn closing(tokens: &[(Token, Span)], open: usize) -> Option<usize> {
    let mut depth = 0_usize;
    for (at, (token, _)) in tokens.iter().enumerate().skip(open) {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => {
                depth = depth.checked_sub(1)?;
                if depth == 0 {
                    return Some(at);
                }
            }
            Token::BlockEnd | Token::VariableEnd => return None,
            _ => {}
        }
    }
    None
}

/// Returns whether there is a comma between two brackets, and in no other.
fn has_comma(tokens: &[(Token, Span)], open: usize, close: usize) -> bool {
    let mut depth = 0_usize;
    for (token, _) in tokens.iter().take(close).skip(open + 1) {
        match token {
            Token::ParenOpen | Token::BracketOpen | Token::BraceOpen => depth += 1,
            Token::ParenClose | Token::BracketClose | Token::BraceClose => depth = depth.saturating_sub(1),
            Token::Comma if depth == 0 => return true,
            _ => {}
        }
    }
    false
}

fn before<'t, 's>(tokens: &'t [(Token<'s>, Span)], at: usize) -> Option<&'t Token<'s>> {
    tokens.get(at.checked_sub(1)?).map(|(token, _)| token)
}

fn end(tokens: &[(Token, Span)], at: usize) -> u32 {
    tokens.get(at).map_or(0, |(_, span)| span.end_offset)
}

/// Returns whether a value may end with this token, so that a bracket after it is an item of the value.
fn ends_value(token: &Token) -> bool {
    const KEYWORDS: [&str; 10] = ["in", "not", "and", "or", "if", "else", "elif", "is", "do", "recursive"];
    match token {
        Token::Ident(name) => !KEYWORDS.contains(name),
        Token::Str(_) | Token::String(_) | Token::Int(_) | Token::Int128(_) | Token::Float(_) => true,
        Token::ParenClose | Token::BracketClose | Token::BraceClose => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use minijinja::context;
    use proptest::prelude::*;

    use super::*;

    fn render(source: &str) -> String {
        let mut environment = Environment::new();
        install(&mut environment);
        let hosts = |default: Value| DefaultDict {
            entries: BTreeMap::from([("a.com".to_owned(), Value::from("x"))]),
            default,
        };
        let http = DefaultDict {
            entries: BTreeMap::from([("80".to_owned(), Value::from_object(hosts(Value::from(""))))]),
            default: Value::from_object(DefaultDict { entries: BTreeMap::new(), default: Value::from(0) }),
        };
        let context =
            context! { d => context! { b => 2, a => 1 }, x => "v", http_mapping => Value::from_object(http) };
        environment.render_str(&rewrite(source), context).unwrap()
    }

    #[test]
    fn python_2s_methods_of_dictionaries_are_there() {
        let source = "{% for k, v in d.iteritems() %}{{ k }}{{ v }} {% endfor %}{{ d.iterkeys()|join }} \
            {{ d.itervalues()|join('-') }} {{ d.has_key('a') }} {{ d.has_key('c') }}";
        let rendered = render(source);
        assert!(
            ["a1 b2 ab 1-2 True False", "b2 a1 ba 2-1 True False"].contains(&rendered.as_str()),
            "{rendered}"
        );
    }

    #[test]
    fn a_percent_sign_after_a_string_formats_it() {
        for (source, rendered) in [
            ("{{ '%s!' % x }}", "v!"),
            ("{{ \"%s:%d\" % (x, 7) }}", "v:7"),
            ("{{ '%s' % (x) }}", "v"),
            ("{{ '%s' % (x,) }}", "v"),
            ("{{ '%s' % d.a ~ 'z' }}", "1z"),
            ("{{ '%s' % d['a'] }}", "1"),
            ("{{ '%s' % x|upper }}", "V"),
            ("{% set k = \"be_%s_%s\" % (x, '%s' % (d.a)) %}{{ k }}", "be_v_1"),
            ("{% if '%s' % x == 'v' %}yes{% endif %}", "yes"),
            ("{{ 7 % 4 }} {{ d.b % 2 }} 5 % 3", "3 0 5 % 3"),
        ] {
            assert_eq!(render(source), rendered, "{source}");
        }
    }

    #[test]
    fn a_list_grows_through_loops_and_conditions() {
        let source = "{% set xs = [] %}{% for n in [1, 2] %}{% if xs.append('%s' % n) %}{% endif %}{% do xs.extend([n]) %}\
            {% endfor %}{% set _ = xs.insert(0, 'f') %}{{ xs|join(',') }} {{ xs|length }} {{ xs[1] }} {{ xs.pop() }} \
            {{ 'f' in xs }} {{ d['a'] }}";
        assert_eq!(render(source), "f,1,1,2,2 5 1 2 True 1");
    }

    #[test]
    fn a_list_is_another_in_each_rendering() {
        let mut environment = Environment::new();
        install(&mut environment);
        let source = rewrite("{% set xs = [] %}{% set _ = xs.append(1) %}{{ xs|length }}");
        let template = environment.template_from_str(&source).unwrap();
        assert_eq!(
            (template.render(()).unwrap(), template.render(()).unwrap()),
            ("1".to_owned(), "1".to_owned())
        );
    }

    #[test]
    fn an_absent_key_has_the_default_and_is_no_member() {
        for (source, rendered) in [
            ("{% for h, p in http_mapping['81'].items() %}{{ h }}{% endfor %}", ""),
            ("{% for h in http_mapping['80'].iteritems() %}{{ h[0] }}{% endfor %}", "a.com"),
            ("{{ http_mapping['81']['x'] }}", "0"),
            ("{{ '81' in http_mapping }} {{ '80' in http_mapping }}", "False True"),
            ("{{ 'a.com' in http_mapping['80'] }} {{ 'b' in http_mapping['80'] }}", "True False"),
            ("{% for port in http_mapping %}{{ port }}{% endfor %}", "80"),
            ("{% for port, hosts in http_mapping|dictsort %}{{ port }}{{ hosts|length }}{% endfor %}", "801"),
            (
                "{{ http_mapping.has_key('81') }} {{ http_mapping.get('81', 5) }} {{ http_mapping|length }}",
                "False 5 1",
            ),
        ] {
            assert_eq!(render(source), rendered, "{source}");
        }
    }

    proptest! {
        #[test]
        fn no_source_is_too_broken_to_rewrite(source in "(\\{\\{|\\}\\}|\\{%|%\\}|'%s' %|\\(|\\)|\\[|\\]|x| in |http_mapping|\\.append\\(|,|\\|| ){0,12}") {
            rewrite(&source);
        }

        #[test]
        fn what_needs_no_rewriting_is_left_alone(source in "(a|\\{\\{ x \\}\\}|\\{% if x in d %\\}|'|%|\\[1\\]| |\n){0,12}") {
            prop_assert_eq!(rewrite(&source), source);
        }
    }
}
