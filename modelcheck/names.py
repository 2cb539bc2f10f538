"""Names that several parts must share: files, how much text they may hold, how much of the weights is read."""

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
PICKLE_SINGLE, PICKLE_INDEX = "pytorch_model.bin", "pytorch_model.bin.index.json"
JINJA, LEGACY = "chat_template.jinja", "chat_template.json"
# Where transformers looks for further named templates.
TEMPLATE_FOLDER = "additional_chat_templates"
# What transformers can make a tokenizer.json of.
CONVERTIBLE = ("tokenizer.model", "spiece.model", "sentencepiece.bpe.model", "vocab.json", "vocab.txt")
# What a trainer's data sets would be saved as: by these names a source says that it was passed none.
TRAIN_ROWS, EVAL_ROWS = "train.jsonl", "eval.jsonl"
# What an audit of the trainer and its log leave behind.
TRAINING = "training_evidence.json"
# The largest published tokenizer_config.json known to us is 1.2 MB (Gemma 3).
TEXT_LIMIT = 16 << 20
# What `--weights` may say: headers only, the embedding rows in use and a sample, what rules usually want, every tensor
# to its end.
WEIGHTS = ("none", "used", "embeddings", "full")
# Where `modelcheck fix` keeps what `modelcheck undo` takes back.
JOURNALS = ".modelcheck"
