"""The child of conversion.py, run by path: print the tokenizer.json that transformers makes of a folder."""

import sys

from transformers import AutoTokenizer


def main(folder: str) -> None:
    """Code that the checkpoint brings is never run."""
    tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    sys.stdout.buffer.write(tokenizer.backend_tokenizer.to_str().encode())


if __name__ == "__main__":
    main(sys.argv[1])
