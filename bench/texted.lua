-- The invite code from a number that nobody invited, a new message each time.
local number, thread = 0, 0
function setup(its) thread = thread + 1; its:set("id", thread .. "-" .. os.time() .. "-") end
function request()
  number = number + 1
  local body = "msisdn=12025550166&text=sunflower&messageId=" .. id .. number
  local headers = { ["Content-Type"] = "application/x-www-form-urlencoded" }
  return wrk.format("POST", nil, headers, body)
end
