-- The cookies of a file, one after another.
local cookies, number = {}, 0
function init(arguments)
  for cookie in io.lines(arguments[1]) do cookies[#cookies + 1] = cookie end
end
function request()
  number = number % #cookies + 1
  return wrk.format("GET", nil, { ["Cookie"] = cookies[number] })
end
