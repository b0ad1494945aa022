-- What the database has to know of a provider whose settings stand in one object. No column of table providers, which
-- every open transaction may have read.
CREATE TABLE liverouter.member_providers (
    name    text PRIMARY KEY,
    holder  text NOT NULL,
    base    text NOT NULL,
    secrets text[] NOT NULL,
    vendors jsonb NOT NULL
);
COMMENT ON TABLE liverouter.member_providers IS
    'Of liverouter.providers those whose settings and secrets are members of one object. Each run of `liverouter migrate` '
    'brings it up to date; nobody else writes it.';
COMMENT ON COLUMN liverouter.member_providers.name IS 'The value of llm_provider';
COMMENT ON COLUMN liverouter.member_providers.holder IS 'The setting, and the member of an entry, that holds the object';
COMMENT ON COLUMN liverouter.member_providers.base IS 'The member that says where its calls go';
COMMENT ON COLUMN liverouter.member_providers.secrets IS
    'The members that refer to secrets; of several the first that is stored is shown as the credential';
COMMENT ON COLUMN liverouter.member_providers.vendors IS
    'Of each vendor whose address is known, by what its models'' names begin with, the base that its calls go to; '
    '{aws_region_name} stands for that member';

-- As they were when this was written: a run of `liverouter migrate` ends with what its code knows.
INSERT INTO liverouter.member_providers VALUES (
    'litellm', 'litellm_params', 'api_base', '{api_key,aws_secret_access_key,aws_access_key_id,aws_session_token}',
    '{
        "bedrock": "https://bedrock-runtime.{aws_region_name}.amazonaws.com",
        "cerebras": "https://api.cerebras.ai/v1",
        "deepinfra": "https://api.deepinfra.com/v1/openai",
        "deepseek": "https://api.deepseek.com/beta",
        "fireworks_ai": "https://api.fireworks.ai/inference/v1",
        "gemini": "https://generativelanguage.googleapis.com/v1beta",
        "groq": "https://api.groq.com/openai/v1",
        "hyperbolic": "https://api.hyperbolic.xyz/v1",
        "lambda_ai": "https://api.lambda.ai/v1",
        "mistral": "https://api.mistral.ai/v1",
        "moonshot": "https://api.moonshot.ai/v1",
        "nvidia_nim": "https://integrate.api.nvidia.com/v1",
        "ollama": "http://localhost:11434",
        "ollama_chat": "http://localhost:11434",
        "openrouter": "https://openrouter.ai/api/v1",
        "perplexity": "https://api.perplexity.ai",
        "sambanova": "https://api.sambanova.ai/v1",
        "together_ai": "https://api.together.xyz/v1",
        "vercel_ai_gateway": "https://ai-gateway.vercel.sh/v1",
        "xai": "https://api.x.ai/v1"}');

COMMENT ON COLUMN liverouter.secrets.origins IS
    'Where the secret may be sent to beside its provider''s own hosts and a process''s own machine: scheme, host and '
    'port. One of litellm''s vendors gets no other''s. Bound when it is stored, to the base URL then in force or to what '
    'was named; only a secret stored anew is bound anew.';
