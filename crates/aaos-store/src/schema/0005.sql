-- The journal, version 5. A daemon's start says how far back the next one has to look, and is found by the same index;
-- so are the beginnings and ends of rehearsed plans.
DROP INDEX events_milestone;
CREATE INDEX events_milestone ON events (kind) WHERE kind = 'run_submitted' OR kind = 'run_finished'
    OR kind = 'run_recovering' OR kind = 'daemon_started' OR kind = 'daemon_stopped'
    OR kind = 'plan_rehearsed' OR kind = 'rehearsal_ended';
