"""Tasks of lm-evaluation-harness: a YAML file each, and what makes their documents.

They ask as the model's prompt was tuned to be asked; a model without a prompt is asked by the
hand-written pattern. Files of records are in the directory ``data_dir`` of ``--metadata``.
"""
