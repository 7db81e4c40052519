"""Measurements and reproductions; nothing of the product depends on them.

paper/ prompt_study/  the paper's rows; many manual prompts over one task
bench/ layouts/       speed beside PEFT and the published code; layouts side by side
fact_bert/            a small BERT that is taught facts where none can be downloaded
"""
