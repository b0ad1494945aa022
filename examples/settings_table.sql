CREATE TABLE app_settings (name text PRIMARY KEY, value text, changed_by text);

CREATE FUNCTION mirror_llm_settings() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    texts text[] := '{llm_provider,llm_model,openai_api_base,anthropic_api_base}';
    jsons text[] := '{llm_fallback_config,llm_temperature,llm_max_tokens,litellm_enable}';
BEGIN
    IF TG_OP <> 'INSERT' AND (OLD.name = ANY (texts || jsons) OR OLD.name LIKE 'llm:%') THEN
        DELETE FROM liverouter.settings WHERE key = OLD.name AND (TG_OP = 'DELETE' OR OLD.name <> NEW.name);
    END IF;
    IF TG_OP <> 'DELETE' AND (NEW.name = ANY (texts || jsons) OR NEW.name LIKE 'llm:%') THEN
        PERFORM set_config('liverouter.author', coalesce(NEW.changed_by, ''), true);
        INSERT INTO liverouter.settings (key, value)
            VALUES (NEW.name, coalesce(CASE WHEN NEW.name = ANY (texts) THEN to_jsonb(NEW.value) ELSE NEW.value::jsonb END, 'null'))
            ON CONFLICT (key) DO UPDATE SET value = excluded.value;
    END IF;
    RETURN NULL;
END $$;

CREATE TRIGGER mirror_llm_settings AFTER INSERT OR UPDATE OR DELETE ON app_settings
    FOR EACH ROW EXECUTE FUNCTION mirror_llm_settings();

UPDATE app_settings SET value = value;  -- once: what is there already
