-- The journal, version 4. What the daemon asks for at its start and of a day is found by an index, whatever else the
-- journal holds: where runs begin, end and are taken up again, where a daemon went away, and what was asked of models.
DROP INDEX events_milestone;
CREATE INDEX events_milestone ON events (kind) WHERE kind = 'run_submitted' OR kind = 'run_finished'
    OR kind = 'run_recovering' OR kind = 'daemon_stopped';
DROP INDEX events_spending;
CREATE INDEX events_spending ON events (kind, time) WHERE kind = 'usage_reported' OR kind = 'model_abandoned'
    OR kind = 'model_requested' OR kind = 'model_failed' OR kind = 'run_finished'
    OR kind = 'agent_spawned' OR kind = 'agent_stopped';
