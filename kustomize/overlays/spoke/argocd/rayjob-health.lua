-- How Argo CD shows a RayJob, which has no conditions of its own.
local deployment = {
  Initializing = "Progressing",
  Waiting = "Progressing",
  Suspending = "Progressing",
  Retrying = "Progressing",
  Failed = "Degraded",
  ValidationFailed = "Degraded",
  Suspended = "Suspended",
  Running = "Healthy",
  Complete = "Healthy",
}
local job = {
  FAILED = "Degraded",
  STOPPED = "Degraded",
}
local status = obj.status or {}
local phase = status.jobDeploymentStatus or ""
local result = status.jobStatus or ""
local health = deployment[phase] or "Progressing"
if phase == "Complete" and result ~= "SUCCEEDED" then
  health = "Progressing"
end
-- In other phases jobStatus may still speak of the run before a retry or a pause.
if phase == "Complete" or phase == "Running" then
  health = job[result] or health
end
return {status = health, message = status.message or status.reason or phase}
