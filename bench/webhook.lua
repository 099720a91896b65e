-- wrk script: POSTs one signed body under a webhook id that is new in every request. The signature does not
-- cover the id, so one per run is enough and signing costs the load generator nothing.
-- Arguments after "--": t v1 run_tag body_file path
local threads = 0
function setup(thread)
  thread:set("tid", threads)
  threads = threads + 1
end

local n = 0
function init(args)
  local t, v1, run, body_file, path = args[1], args[2], args[3], args[4], args[5]
  local f = assert(io.open(body_file, "rb"))
  local body = f:read("*a")
  f:close()
  head = "POST " .. path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
    "\r\nUser-Agent: athos-bench\r\nAccept: */*\r\nContent-Type: application/json\r\nContent-Length: " .. #body ..
    "\r\nX-Athos-Signature: t=" .. t .. ",v1=" .. v1 ..
    "\r\nX-Athos-Webhook-Id: wh_"
  tail = "_" .. run .. tid .. "\r\n\r\n" .. body
end

-- n * odd mod 2^32 is a bijection: ids are unique and arrive in no order, as random ids do
function request()
  n = n + 1
  return head .. string.format("%08x", (n * 2654435761) % 4294967296) .. tail
end

local think = tonumber(os.getenv("BENCH_THINK_MS") or "0")
if think > 0 then -- paced load: each connection waits 0..2*think ms before its next request
  function delay() return math.random(0, 2 * think) end
end

dofile(os.getenv("BENCH_DIR") .. "/done.lua")
