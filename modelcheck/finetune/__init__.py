"""The fine-tune under test: evaluate, train, lint, evaluate, compare. Uses the engine, which never imports this."""
