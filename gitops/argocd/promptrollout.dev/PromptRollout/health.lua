-- Health of a PromptRollout for Argo CD. Healthy means: the operator has looked at this very version of the spec, and
-- every pod that serves the prompt has loaded what was decided about it.
local hs = {}
local status = obj.status or {}

if obj.metadata.deletionTimestamp ~= nil then
  hs.status = "Progressing"
  hs.message = "being deleted"
  return hs
end

if status.phase == nil or tonumber(status.observedGeneration) ~= tonumber(obj.metadata.generation) then
  hs.status = "Progressing"
  hs.message = "waiting for the operator to look at this version of the rollout"
  return hs
end

local by_phase = {
  Pending = "Progressing",
  Delivering = "Progressing",
  Progressing = "Progressing",
  RollingBack = "Progressing",
  Paused = "Suspended",
  AwaitingApproval = "Suspended",
  Degraded = "Degraded",
  Invalid = "Degraded",
  Healthy = "Healthy",
}

hs.status = by_phase[status.phase] or "Unknown"
hs.message = status.message or ""

-- The phase is the operator's word, the condition says of which generation: both must agree.
if hs.status == "Healthy" then
  hs.status = "Progressing"
  for _, condition in ipairs(status.conditions or {}) do
    if condition.type == "Healthy" and condition.status == "True"
        and tonumber(condition.observedGeneration) == tonumber(obj.metadata.generation) then
      hs.status = "Healthy"
    end
  end
end

return hs
