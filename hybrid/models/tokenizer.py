"""A Unigram tokenizer trained on the training corpus, for encoders that start from scratch."""

from collections.abc import Iterable

_SPECIAL = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
"""In XLM-R's order, so that its default ids for them hold."""


def train_tokenizer(texts: Iterable[str], vocabulary: int, max_length: int):
    """Train a Unigram tokenizer (Kudo 2018) and return it as a fast tokenizer, `<s> text </s>` as XLM-R has it.

    Args:
        texts: what it is trained on, read once.
        vocabulary: number of pieces at the most, special ones included.
        max_length: tokens that the encoder takes, special ones included.
    """
    from io import BytesIO

    from sentencepiece import SentencePieceProcessor, SentencePieceTrainer
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    model = BytesIO()
    # One thread: with several, and in the trainer of the tokenizers package, no two runs give the same pieces.
    SentencePieceTrainer.train(
        sentence_iterator=iter(texts),
        model_writer=model,
        model_type="unigram",
        vocab_size=vocabulary - 2,
        hard_vocab_limit=False,
        character_coverage=1.0,
        normalization_rule_name="nfkc",
        num_threads=1,
        minloglevel=2,
    )
    pieces = SentencePieceProcessor(model_proto=model.getvalue())
    vocabulary = [(token, 0.0) for token in _SPECIAL]
    vocabulary += [(pieces.id_to_piece(i), pieces.get_score(i)) for i in range(3, len(pieces))]
    tokenizer = Tokenizer(models.Unigram(vocabulary, unk_id=_SPECIAL.index("<unk>")))
    tokenizer.normalizer = normalizers.NFKC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Metaspace()])
    ids = {token: tokenizer.token_to_id(token) for token in _SPECIAL}
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s>", special_tokens=[("<s>", ids["<s>"]), ("</s>", ids["</s>"])]
    )
    names = dict(zip(("bos_token", "pad_token", "eos_token", "unk_token", "mask_token"), _SPECIAL, strict=True))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, model_max_length=max_length, cls_token="<s>", sep_token="</s>", **names
    )
