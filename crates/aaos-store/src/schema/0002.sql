-- The journal, version 2. Every index of an event costs the writer a page or more in each commit, so only those stay
-- that the daemon asks by: a run's events, and where runs begin and end. An agent's events are found among its run's.
DROP INDEX events_agent;
DROP INDEX events_kind;
CREATE INDEX events_milestone ON events (kind) WHERE kind = 'run_submitted' OR kind = 'run_finished';
