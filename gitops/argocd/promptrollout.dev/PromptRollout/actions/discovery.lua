-- What can be asked of a PromptRollout in its present state. The operator refuses, with the reason in
-- status.lastCommand, what has stopped making sense by the time it arrives.
local status = obj.status or {}
local on_trial = status.candidate ~= nil
-- A gate whose time is over holds without a pause of its own, and resume asks it again.
local paused = status.pause ~= nil or status.phase == "Paused"
local paused_by_command = paused and (status.pause or {}).reason == "Command"
-- What is wanted now cannot be followed: the spec is wrong, or the prompt's source does not answer.
local stands = status.phase == "Invalid" or status.phase == "Pending"
local rolled_back = status.phase == "Degraded" or status.phase == "RollingBack"
-- The operator knows which texts are still there; here it is enough that another revision was stable once.
local stable = (status.stable or {}).revision
local undoable = false
local seen = {}
for _, entry in ipairs(status.history or {}) do
  if not seen[entry.revision] and entry.outcome == "Promoted" and entry.revision ~= stable then
    undoable = true
  end
  -- That the spec wanted another in between says nothing of the revision.
  if entry.outcome ~= "Superseded" then
    seen[entry.revision] = true
  end
end
local gate_waits = false
for _, gate in ipairs(status.gates or {}) do
  if gate.result == nil or gate.result == "" then
    gate_waits = on_trial
  end
end

local actions = {}
actions["resume"] = {["disabled"] = not (on_trial and paused), ["displayName"] = "Resume"}
actions["pause"] = {["disabled"] = not on_trial or paused_by_command, ["displayName"] = "Pause"}
actions["promote"] = {["disabled"] = not on_trial or gate_waits or stands, ["displayName"] = "Promote to the next step"}
actions["promote-full"] = {["disabled"] = not on_trial or (status.candidate or {}).undelivered == true, ["displayName"] = "Promote in full, without further evidence"}
actions["abort"] = {["disabled"] = not on_trial, ["displayName"] = "Abort: everybody back to stable"}
actions["retry"] = {["disabled"] = not (rolled_back and status.rejected ~= nil), ["displayName"] = "Retry what was rolled back"}
actions["approve"] = {["disabled"] = status.phase ~= "AwaitingApproval", ["displayName"] = "Approve"}
actions["skip"] = {["disabled"] = not gate_waits, ["displayName"] = "Skip the gate that is waited for"}
actions["undo"] = {["disabled"] = on_trial or not undoable, ["displayName"] = "Undo: back to the revision that was stable before"}
return actions
