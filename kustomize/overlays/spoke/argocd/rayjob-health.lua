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
local health = deployment[phase] or "Progressing"
-- While a retry is under way, jobStatus still speaks of the attempt before it.
if health ~= "Progressing" and job[status.jobStatus or ""] then
  health = job[status.jobStatus]
end
return {status = health, message = status.message or status.reason or phase}
