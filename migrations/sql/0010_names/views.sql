-- Made anew, for a weight may have decimals, which an integer column cannot show; the columns of before stand where they
-- stood.

CREATE OR REPLACE VIEW liverouter.fleet WITH (security_barrier) AS
SELECT
    p.instance, p.app, p.host, p.pid,
    CASE jsonb_typeof(p.labels) WHEN 'object' THEN p.labels ELSE '{}' END AS labels,
    CASE jsonb_typeof(p.versions) WHEN 'object' THEN p.versions ELSE '{}' END AS versions,
    p.mode, p.mode_cause,
    CASE WHEN p.since BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.since END AS since,
    p.epoch, p.applied_revision,
    CASE WHEN p.applied_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.applied_at END AS applied_at,
    p.generation, p.litellm_enable, p.rejected_revision, p.rejected_epoch,
    CASE WHEN l.live THEN jsonb_path_query_array(p.problems, '$[*] ? (@.type() == "object")') ELSE '[]' END AS problems,
    CASE jsonb_typeof(p.last_error) WHEN 'object' THEN p.last_error END AS last_error,
    p.listener,
    CASE WHEN l.live THEN jsonb_path_query_array(p.deployments, '$[*] ? (
        @.order >= 1 && @.order <= 1000000 && @.order.floor() == @.order
        && @.weight >= 0 && @.weight <= 1000000
        && @.provider.type() == "string" && @.model.type() == "string" && @.deployment_id.type() == "string"
        && (@.role == "primary" || @.role == "fallback")
        && (@.cooling_until == null || @.cooling_until like_regex "^2[0-9]{3}-[0-9]{2}-[0-9]{2}T"))') ELSE '[]' END AS deployments,
    CASE WHEN p.started_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.started_at END AS started_at,
    CASE WHEN p.heartbeat_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.heartbeat_at END AS heartbeat_at,
    CASE WHEN p.bye_at BETWEEN '0002-01-01 UTC' AND '9998-12-31 UTC' THEN p.bye_at END AS bye_at,
    l.live,
    CASE WHEN l.live THEN p.state ELSE 'offline' END AS state,
    format('%s on %s, pid %s',
        coalesce(nullif(p.app, ''), '?'), coalesce(nullif(p.host, ''), '?'), coalesce(p.pid::text, '?')) AS label
FROM liverouter.processes p
CROSS JOIN LATERAL (
    -- heartbeats come every 10 s; three may be lost; the database's clock judges, whatever a process thinks the time is
    SELECT p.bye_at IS NULL AND p.heartbeat_at > clock_timestamp() - interval '35 seconds'
) l (live);

DROP VIEW liverouter.active_config, liverouter.desired_config;

CREATE VIEW liverouter.active_config WITH (security_barrier) AS
SELECT
    f.app,
    f.host,
    f.pid,
    f.applied_revision AS revision,
    d.value ->> 'role' AS role,
    (d.value ->> 'order')::integer AS "order",
    d.value ->> 'provider' AS provider,
    d.value ->> 'model' AS model,
    d.value -> 'params' AS params,
    d.value ->> 'credential_source' AS credential_source,
    d.value ->> 'credential_fingerprint' AS fingerprint,
    CASE WHEN (d.value ->> 'cooling_until')::timestamptz > clock_timestamp()
         THEN date_trunc('second', (d.value ->> 'cooling_until')::timestamptz) END AS cooling_until,
    f.applied_at,
    (d.value ->> 'weight')::numeric AS weight,
    d.value ->> 'endpoint' AS endpoint,
    d.value ->> 'deployment_id' AS deployment_id,
    f.instance,
    coalesce(d.value ->> 'name', 'default') AS name
FROM liverouter.fleet f
CROSS JOIN LATERAL jsonb_array_elements(f.deployments) d (value)
WHERE f.live;

COMMENT ON VIEW liverouter.active_config IS
    'What runs: each live process and each deployment it sends calls to, as the process itself reports it; one that '
    'several names share once for each.';
COMMENT ON COLUMN liverouter.active_config.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.active_config.host IS 'Host name of its machine or container';
COMMENT ON COLUMN liverouter.active_config.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.active_config.revision IS 'Revision it serves calls with';
COMMENT ON COLUMN liverouter.active_config.role IS 'primary or fallback';
COMMENT ON COLUMN liverouter.active_config."order" IS '1 = primary; a higher one serves when those before it cannot';
COMMENT ON COLUMN liverouter.active_config.provider IS 'As in liverouter.providers';
COMMENT ON COLUMN liverouter.active_config.model IS 'The model, as the provider names it';
COMMENT ON COLUMN liverouter.active_config.params IS 'Parameters that are sent';
COMMENT ON COLUMN liverouter.active_config.credential_source IS
    'Where its credential comes from: secret NAME, environment NAME, file ..., ambient';
COMMENT ON COLUMN liverouter.active_config.fingerprint IS
    'Tells one credential from another without revealing it; compare with desired_config';
COMMENT ON COLUMN liverouter.active_config.cooling_until IS
    'Until when calls avoid it after failures; NULL = it serves';
COMMENT ON COLUMN liverouter.active_config.applied_at IS
    'When the revision began to serve there, by this database''s clock';
COMMENT ON COLUMN liverouter.active_config.weight IS 'Its share of the calls within one order';
COMMENT ON COLUMN liverouter.active_config.endpoint IS 'Where calls go';
COMMENT ON COLUMN liverouter.active_config.deployment_id IS 'Provider, model and a digest of endpoint and credential';
COMMENT ON COLUMN liverouter.active_config.instance IS 'Identity of the process, as in instances';
COMMENT ON COLUMN liverouter.active_config.name IS
    'The name it is asked for by: default, or NAME of a row llm:NAME';

CREATE VIEW liverouter.desired_config WITH (security_barrier) AS
SELECT
    d.revision,
    CASE d."order" WHEN 1 THEN 'primary' ELSE 'fallback' END AS role,
    d."order",
    d.provider,
    d.model,
    d.params,
    CASE WHEN d.is_stored OR d.variable IS NULL THEN 'secret ' || d.secret_name
         ELSE 'environment ' || d.variable END AS credential_source,
    d.fingerprint,
    d.weight,
    d.place,
    d.name
FROM liverouter.desired_deployments() d;

COMMENT ON VIEW liverouter.desired_config IS
    'What should run: the head revision as rows say it, one row per name and deployment. Where a row is missing, the '
    'environment of each process decides, which only active_config can tell.';
COMMENT ON COLUMN liverouter.desired_config.revision IS 'The head revision';
COMMENT ON COLUMN liverouter.desired_config.role IS 'primary, of order 1, or fallback';
COMMENT ON COLUMN liverouter.desired_config."order" IS '1 = primary; a higher one serves when those before it cannot';
COMMENT ON COLUMN liverouter.desired_config.provider IS 'As in liverouter.providers';
COMMENT ON COLUMN liverouter.desired_config.model IS 'The model, as the provider names it';
COMMENT ON COLUMN liverouter.desired_config.params IS 'Parameters that are sent';
COMMENT ON COLUMN liverouter.desired_config.credential_source IS
    'secret NAME where one is stored; else environment NAME, which each process must have, or ambient credentials where '
    'the provider takes them';
COMMENT ON COLUMN liverouter.desired_config.fingerprint IS
    'Of the stored secret: tells one credential from another without revealing it';
COMMENT ON COLUMN liverouter.desired_config.weight IS 'Its share of the calls within one order';
COMMENT ON COLUMN liverouter.desired_config.place IS 'Which setting says so';
COMMENT ON COLUMN liverouter.desired_config.name IS
    'The name it is asked for by: default, or NAME of a row llm:NAME';
