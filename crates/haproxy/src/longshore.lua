-- Takes the headers off a message that its Connection header names (RFC 9110, 7.6.1). HAProxy's own actions delete headers of
-- names that are known beforehand.

-- Without these the message would mean something else. HAProxy sees to the last three itself.
local kept = {
  ["host"] = true,
  ["content-length"] = true,
  ["te"] = true,
  ["transfer-encoding"] = true,
  ["upgrade"] = true,
}

local function each_named(headers, drop)
  for _, value in pairs(headers["connection"] or {}) do
    for name in value:gmatch("[^%s,]+") do
      name = name:lower()
      if not kept[name] then
        drop(name)
      end
    end
  end
end

core.register_action("longshore_drop_named_in_request", { "http-req" }, function(txn)
  each_named(txn.http:req_get_headers(), function(name) txn.http:req_del_header(name) end)
end)

core.register_action("longshore_drop_named_in_response", { "http-res" }, function(txn)
  each_named(txn.http:res_get_headers(), function(name) txn.http:res_del_header(name) end)
  txn.http:res_del_header("connection")
end)
