"""Render chat templates as transformers does, in a child process: a template is a program from the internet."""
