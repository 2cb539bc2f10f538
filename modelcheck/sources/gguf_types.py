"""llama.cpp's types of tokens, as in tokenizer.ggml.token_type (llama.h, `llama_token_type`)."""

NORMAL, UNKNOWN, CONTROL, USER_DEFINED, UNUSED, BYTE = range(1, 7)
