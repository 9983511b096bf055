-- A gateway as a Lua filter: looks the key up, counts the client's requests, tells the agent who calls. It counts in
-- one worker only and asks nobody; LIMIT and CLIENTS are put in when Envoy is configured.

local names = {}
for number = 0, CLIENTS - 1 do
  names[string.format("key-%036d", number)] = "client-" .. number
end

local counts = {}

function envoy_on_request(handle)
  local headers = handle:headers()
  local key = headers:get("x-api-key")
  local client = key and names[key]
  if not client then
    handle:respond({[":status"] = "401"}, "")
    return
  end
  local count = (counts[client] or 0) + 1
  if count > LIMIT then
    handle:respond({[":status"] = "429"}, "")
    return
  end
  counts[client] = count
  headers:replace("x-waykeeper-client", client)
  headers:replace("x-waykeeper-plan", "standard")
end
