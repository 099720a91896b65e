-- wrk script: GETs one path with a bearer token. Arguments after "--": path token
function init(args)
  head = "GET " .. args[1] .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
    "\r\nUser-Agent: athos-bench\r\nAccept: */*\r\nAuthorization: Bearer " .. args[2] .. "\r\n\r\n"
end

function request()
  return head
end

dofile(os.getenv("BENCH_DIR") .. "/done.lua")
