"""Grammars at work: does an answer conform (`recognize`), and may a model write nothing else (`constraint`).

    constraint = Constraint.of(load("root ::= ..."), spelling(tokenizer), stop_ids)
    model.generate(..., logits_processor=[constraint.processor()])    # one processor for each call

Needs transformers-cfg, from the extra `grammar`; with the backend "xgrammar", the package of that name.
"""
