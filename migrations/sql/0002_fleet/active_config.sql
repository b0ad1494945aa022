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
    (d.value ->> 'weight')::integer AS weight,
    d.value ->> 'endpoint' AS endpoint,
    d.value ->> 'deployment_id' AS deployment_id,
    f.instance
FROM liverouter.fleet f
CROSS JOIN LATERAL jsonb_array_elements(f.deployments) WITH ORDINALITY d (value, position)
WHERE f.live AND (f.litellm_enable IS DISTINCT FROM false OR d.position = 1)
ORDER BY f.app, f.host, f.pid, f.instance, d.position;

COMMENT ON VIEW liverouter.active_config IS
    'What runs: each live process and each deployment it sends calls to, as the process itself reports it.';
COMMENT ON COLUMN liverouter.active_config.app IS 'LIVEROUTER_APP, else the program''s name';
COMMENT ON COLUMN liverouter.active_config.host IS 'Host name of its machine or container';
COMMENT ON COLUMN liverouter.active_config.pid IS 'Process id there';
COMMENT ON COLUMN liverouter.active_config.revision IS 'Revision it serves calls with';
COMMENT ON COLUMN liverouter.active_config.role IS 'primary or fallback';
COMMENT ON COLUMN liverouter.active_config."order" IS '1 = primary; a higher one serves when those before it cannot';
COMMENT ON COLUMN liverouter.active_config.provider IS 'anthropic, azure-openai, openai, snowflake-cortex or vertex-ai';
COMMENT ON COLUMN liverouter.active_config.model IS 'The model, as the provider names it';
COMMENT ON COLUMN liverouter.active_config.params IS 'Sampling parameters that are sent';
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
