"""A WordPiece tokenizer learned from the very sentences that are taught."""

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from ptune_scale.experiments.fact_bert.curriculum import Curriculum

_SPECIALS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]")


def learn_tokenizer(curriculum: Curriculum, size: int) -> PreTrainedTokenizerFast:
    """A cased tokenizer in which each object is one token and no name has an unknown letter.

    Args:
        size: word pieces to learn; objects and single letters come on top.
    """
    lessons = curriculum.lessons
    facts = [fact for lesson in lessons for fact in (*lesson.taught, *lesson.untaught)]
    prompts = [
        text.replace("[X]", " ").replace("[Y]", " ")
        for lesson in lessons
        for text in (lesson.relation.manual_prompt, *lesson.sentences)
    ]
    # Names that are held back lend their letters only: their words stay as unknown as they are.
    subjects = [fact.subject for lesson in lessons for fact in lesson.taught]
    texts = (*prompts, *(fact.subject for fact in facts), *(fact.object for fact in facts), "a")
    letters = sorted({letter for text in texts for letter in text if not letter.isspace()})
    alphabet = [*letters, *(f"##{letter}" for letter in letters)]
    learned = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    learned.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    # Pieces that are equally frequent are taken in the order of their parts' ids. Letters inside a
    # word would get theirs in the order of a hash table, another one in each run.
    trainer = trainers.WordPieceTrainer(
        vocab_size=size, special_tokens=alphabet, show_progress=False
    )
    learned.train_from_iterator([*prompts, *subjects], trainer)
    pieces = dict.fromkeys(
        (
            *_SPECIALS,
            *alphabet,
            *sorted({fact.object for fact in facts}),
            *sorted(learned.get_vocab(), key=learned.get_vocab().__getitem__),
        )
    )
    vocab = {piece: index for index, piece in enumerate(pieces)}
    tokenizer = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.WordPiece()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        special_tokens=[("[CLS]", vocab["[CLS]"]), ("[SEP]", vocab["[SEP]"])],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    )
