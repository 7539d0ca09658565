-- A sign-in by somebody for whom no PIN runs.
wrk.method = "POST"
wrk.body = "phone=%2B12025550166&username=mallory&pin=123456"
wrk.headers["Content-Type"] = "application/x-www-form-urlencoded"
wrk.headers["Sec-Fetch-Site"] = "same-origin"
wrk.headers["Cookie"] = "visitor=" .. string.rep("v", 43)
