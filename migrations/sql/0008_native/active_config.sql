CREATE OR REPLACE VIEW liverouter.active_config WITH (security_barrier) AS
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
WHERE f.live
ORDER BY f.app, f.host, f.pid, f.instance, d.position;

COMMENT ON COLUMN liverouter.instances.litellm_enable IS
    'false: it calls by the providers'' own LangChain classes, with the same fallbacks';
