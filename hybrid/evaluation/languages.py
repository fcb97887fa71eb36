"""Groups of languages over which means are reported, as sets of ISO 639-3 codes."""

from collections.abc import Iterable


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


XTREME_36 = _codes(
    "afr ara ben bul cmn deu ell est eus fin fra heb hin hun ind ita jav jpn kat kaz kor mal mar nld pes por rus "
    "spa swh tam tel tgl tha tur urd vie"
)
"""The languages of XTREME's Tatoeba (arXiv 2003.11080) but English."""

XLMR = _codes(
    "afr amh ara asm aze bel ben bos bre bul cat ces cmn cym dan deu ell epo est eus fas fin fra fry gla gle glg "
    "guj hau heb hin hrv hun hye ind isl ita jav jpn kan kat kaz khm kir kor kur lao lat lav lit mal mar mkd mlg "
    "mon msa mya nep nld nor ori orm pan pol por pus ron rus san sin slk slv snd som spa sqi srp sun swa swe tam "
    "tel tgl tha tur uig ukr urd uzb vie xho yid"
)
"""The languages of XLM-R's pretraining (arXiv 1911.02116, appendix A) but English: the resource group of a language."""

_MACRO = {
    **dict.fromkeys(_codes("arb arz acm acq aeb ajp apc ars ary arq"), "ara"),
    **dict.fromkeys(_codes("pes prs"), "fas"),
    **dict.fromkeys(_codes("nob nno"), "nor"),
    **dict.fromkeys(_codes("zho yue wuu"), "cmn"),
    **{"swh": "swa", "khk": "mon", "npi": "nep", "ory": "ori", "plt": "mlg", "pbt": "pus", "gaz": "orm", "uzn": "uzb"},
    **{"azj": "aze", "lvs": "lav", "zsm": "msa", "kmr": "kur", "ckb": "kur", "als": "sqi", "ydd": "yid", "fil": "tgl"},
}


def group_of(codes: Iterable[str], group: frozenset[str]) -> frozenset[str]:
    """Return the codes that belong to a group; script and region after the language are passed over.

    A code of a member of a macrolanguage (arb, swh, lvs) counts as the macrolanguage too.
    """
    bare = {code: code.replace("-", "_").split("_")[0] for code in codes}
    return frozenset(code for code, name in bare.items() if {name, _MACRO.get(name, name)} & group)
