-- wrk script: POSTs a signed body about a call that is new in every request, under a webhook id that is new too: the same
-- signed bytes are the same event, and a call that is known costs less than one that is not. The call ended now, as calls of
-- real webhooks did: what sorts by time grows at its end. Signing is done by the OpenSSL that wrk is linked with, and takes
-- about two microseconds.
-- Arguments after "--": t secret run_tag body_file path
local ffi = require("ffi")
ffi.cdef[[
  const void *EVP_sha256(void);
  unsigned char *HMAC(const void *md, const void *key, int key_len, const unsigned char *d, size_t n,
                      unsigned char *out, unsigned int *len);
  struct timeval { long seconds, micros; };
  int gettimeofday(struct timeval *now, void *zone);
]]
local mac, mac_len = ffi.new("unsigned char[32]"), ffi.new("unsigned int[1]")
local hex = {}
for byte = 0, 255 do hex[byte] = string.format("%02x", byte) end

local function sign(secret, text)
  ffi.C.HMAC(ffi.C.EVP_sha256(), secret, #secret, text, #text, mac, mac_len)
  local digits = {}
  for i = 0, 31 do digits[i + 1] = hex[mac[i]] end
  return table.concat(digits)
end

local clock, second, shown = ffi.new("struct timeval"), 0, ""
local function now()
  ffi.C.gettimeofday(clock, nil)
  if clock.seconds ~= second then
    second = clock.seconds
    shown = os.date("!%Y-%m-%dT%H:%M:%S", tonumber(second))
  end
  return shown .. string.format(".%03dZ", tonumber(clock.micros) / 1000)
end

local threads = 0
function setup(thread)
  thread:set("tid", threads)
  threads = threads + 1
end

local n = 0
function init(args)
  local run, body_file, path = args[3], args[4], args[5]
  t, secret = args[1], args[2]
  local f = assert(io.open(body_file, "rb"))
  local body = f:read("*a")
  f:close()
  head = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
    "\r\nUser-Agent: athos-bench\r\nAccept: */*\r\nContent-Type: application/json"
  tag = "_" .. run .. tid
  -- The ids of the call and of the request are where bodies differ, and the time between them.
  local call_from, call_to = body:find("athos_call_GZ1DjOkZv_VEPoE-CJ8mp", 1, true)
  local req_from, req_to = body:find("req_b1f0", 1, true)
  local time_from, time_to = body:find("%d+%-%d+%-%d+T[%d:.]+Z")
  before, between = body:sub(1, call_from - 1), body:sub(call_to + 1, time_from - 1)
  behind, after = body:sub(time_to + 1, req_from - 1), body:sub(req_to + 1)
end

-- n * odd mod 2^32 is a bijection: ids are unique and arrive in no order, as random ids do
function request()
  n = n + 1
  local id = string.format("%08x", (n * 2654435761) % 4294967296) .. tag
  local body = before .. "athos_call_" .. id .. between .. now() .. behind .. "req_" .. id .. after
  return head .. "\r\nContent-Length: " .. #body .. "\r\nX-Athos-Signature: t=" .. t .. ",v1=" .. sign(secret, t .. "." .. body) ..
    "\r\nX-Athos-Webhook-Id: wh_" .. id .. "\r\n\r\n" .. body
end

local think = tonumber(os.getenv("BENCH_THINK_MS") or "0")
if think > 0 then -- paced load: each connection waits 0..2*think ms before its next request
  function delay() return math.random(0, 2 * think) end
end

dofile(os.getenv("BENCH_DIR") .. "/done.lua")
