-- The request is one and the same in all attempts. What the filters of an agent make of it (its credential, its path, its
-- name) must not be there for the next.
local CHANGED = { {%- for name in changed %}"{{ name }}"{% if not loop.last %}, {% endif %}{% endfor -%} }
local NOTES = "waykeeper.further"
-- By this Envoy chooses the agent of the next attempt.
local ATTEMPT = "x-envoy-attempt-count"
local HOST = "x-waykeeper-host"

function envoy_on_request(handle)
  local headers, notes = handle:headers(), handle:streamInfo():dynamicMetadata()
  local before = notes:get(NOTES)
  local came = before and before.came or {}
  if before then
    for _, name in ipairs(CHANGED) do
      if came[name] then
        headers:replace(name, came[name])
      else
        headers:remove(name)
      end
    end
{% if bases %}
    -- The access log tells the path at the agent that has answered.
    notes:set("waykeeper.base", "asked_path", nil)
    notes:set("waykeeper.base", "agent_path", nil)
{% endif %}
  else
    for _, name in ipairs(CHANGED) do
      came[name] = headers:get(name)
    end
    notes:set(NOTES, "came", came)
  end
  local attempt = before and before.attempt or 0
  notes:set(NOTES, "attempt", attempt + 1)
  headers:replace(ATTEMPT, string.format("%d", attempt + 1))
{% if own_hosts %}
  local host = headers:get(HOST)
  if host then
    headers:remove(HOST)
    headers:replace("x-envoy-original-host", headers:get(":authority") or "")
    headers:replace(":authority", host)
  end
{% endif %}
end
