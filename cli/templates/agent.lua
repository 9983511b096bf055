{% if base %}
-- Where this agent's paths begin, in place of the request's /v1.
local BASE, WHOLE = "{{ base.prefix }}", "{{ base.whole }}"
{% if native %}
-- And those that are its own beside them.
local NATIVE = "{{ native }}"
{% endif %}
local NOTES = "waykeeper.base"

-- What stands behind a beginning of whole parts.
local function behind(beginning, path)
  local rest = path:sub(#beginning + 1)
  if path:sub(1, #beginning) == beginning and (rest == "" or rest:find("^[/?#]")) then
    return rest
  end
end

-- The agent's path for one of a request, and the beginning of the latter that stands for the agent's.
local function of_agent(path)
  if behind(BASE, path){{ " or behind(NATIVE, path)" if native }} then
    return path, BASE
  end
  local from, rest = "/v1", behind("/v1", path)
  if not rest then
    from, rest = "", path
  end
  local query = rest:match("^/?(%?.*)$") or (rest == "" or rest == "/") and ""
  return query and WHOLE .. query or BASE .. rest, from
end

local function without_query(path)
  return path:match("^[^?]*")
end

{% endif %}
function envoy_on_request(handle)
  local headers, notes = handle:headers(), handle:streamInfo():dynamicMetadata()
{% if callers %}
  local own = (notes:get("waykeeper.credentials") or {})["{{ callers.place }}"]
  -- What came more than once is joined by commas, and nobody can say which of it counts.
  local several = own and own:find(",", 1, true)
  if not own or several then
    handle:respond(
      {[":status"] = "401", ["www-authenticate"] = 'Bearer realm="waykeeper"'},
      "This agent asks for a key of your own with its provider, in the header {{ callers.header }}."
        .. (several and " That holds more than one." or "")
    )
    return
  end
{% endif %}
{% if base %}
  -- A second attempt finds in the request what the first one has made of it.
  local asked = (notes:get(NOTES) or {}).path or headers:get(":path")
  if not asked or asked:sub(1, 1) ~= "/" then
    return
  end
  local path, from = of_agent(asked)
  headers:replace(":path", path)
  notes:set(NOTES, "path", asked)
  notes:set(NOTES, "from", from)
  notes:set(NOTES, "host", (headers:get(":authority") or ""):lower())
  if path ~= asked then
    -- For the access log.
    notes:set(NOTES, "asked_path", without_query(asked))
    notes:set(NOTES, "agent_path", without_query(path))
  end
{% if moved %}
  -- There the credential stands elsewhere.
  local credential = headers:get("{{ moved.from }}")
  if credential and behind(NATIVE, path) and not behind(BASE, path) then
    headers:remove("{{ moved.from }}")
    headers:replace("{{ moved.to }}", credential:sub(#"{{ moved.prefix }}" + 1))
  end
{% endif %}
{% endif %}
{% if names_host %}
  -- Envoy's router leaves behind as which host a request was for when it puts the agent's in its place: the agent's by now.
  local host = headers:get("x-waykeeper-host")
  headers:remove("x-waykeeper-host")
  headers:replace(":authority", host)
{% endif %}
end

{% if base %}
-- A redirect to a path of the agent's leads to the one that the caller knows.
function envoy_on_response(handle)
  local headers = handle:headers()
  local location = headers:get("location")
  local noted = location and handle:streamInfo():dynamicMetadata():get(NOTES)
  -- Browsers take blanks and tabs out of it, and may read what is left another way.
  if not noted or noted.from == BASE or location:find("[%c ]") then
    return
  end
  local origin, host, path = location:match("^(%a*:?//([^/?#]+))(/.*)$")
  if not origin then
    origin, path = "", location
  elseif host:lower() ~= noted.host then
    return
  end
  local rest = behind(BASE, path)
  if not rest then
    return
  end
  local from = noted.from
  if from == "" and rest:sub(1, 1) ~= "/" then
    from = "/"
  end
  -- With nothing before it, this would name another host.
  if origin .. from == "" and rest:find("^/[/\\]") then
    return
  end
  headers:replace("location", origin .. from .. rest)
end
{% endif %}
