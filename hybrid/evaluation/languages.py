"""Groups of languages over which means are reported, as sets of ISO 639-3 codes."""

from collections.abc import Iterable


def _codes(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _ordered(text: str) -> tuple[str, ...]:
    return tuple(text.split())


XTREME_36 = _codes(
    "afr ara ben bul cmn deu ell est eus fin fra heb hin hun ind ita jav jpn kat kaz kor mal mar nld pes por rus "
    "spa swh tam tel tgl tha tur urd vie"
)
"""The languages of XTREME's Tatoeba (arXiv 2003.11080, and its third_party/evaluate_retrieval.py) but English."""

RESOURCES = {
    "high_resource": _codes(
        "ara bul cmn dan deu ell fas fin fra heb hrv hun ind ita jpn kor nld nor pol por ron rus slk spa swe tha "
        "tur ukr vie"
    ),
    "medium_resource": _codes(
        "aze bel ben cat ces est glg hin hye isl kat kaz lat lav lit mal mkd msa slv sqi srp tam tel tgl urd"
    ),
    "low_resource": _codes(
        "afr amh asm bos bre cym epo eus fry gla gle guj hau jav kan khm kir kur lao mar mlg mon mya nep ori orm "
        "pan pus san sin snd som sun swa uig uzb xho yid"
    ),
}
"""The languages of XLM-R's pretraining but English, by the size of their compressed file in CC-100 as
data.statmt.org/cc-100 lists it: 5 GB and more, 0.5 to 5 GB, less."""

XLMR = frozenset().union(*RESOURCES.values())
"""The languages of XLM-R's pretraining but English.

The 100 that fairseq's examples/xlmr/README.md lists, without English, the romanised Bengali, Hindi, Tamil, Telugu and
Urdu, Burmese in the Zawgyi font, and the second script of Chinese. Its Kurdish is Kurmanji.
"""

_MACRO = {
    **dict.fromkeys(_codes("arb arz acm acq aeb ajp apc ars ary arq"), "ara"),
    **dict.fromkeys(_codes("pes prs"), "fas"),
    **dict.fromkeys(_codes("nob nno"), "nor"),
    **dict.fromkeys(_codes("zho yue wuu"), "cmn"),
    **{"swh": "swa", "khk": "mon", "npi": "nep", "ory": "ori", "plt": "mlg", "pbt": "pus", "gaz": "orm", "uzn": "uzb"},
    **{"azj": "aze", "lvs": "lav", "zsm": "msa", "kmr": "kur", "als": "sqi", "ydd": "yid", "fil": "tgl"},
}


_XTREME_AS = {
    "ara": ("ara", "arb_Arab", "arb"),
    "cmn": ("cmn", "zho_Hans", "zho-CN"),
    "pes": ("pes", "pes_Arab", "fas"),
    "swh": ("swh", "swh_Latn", "swa"),
    "tgl": ("tgl", "tgl_Latn", "fil"),
}
"""The one code that is meant in Tatoeba, FLORES-200 and NTREX-128 where they have varieties or another name.

Modern Standard Arabic in Arabic script, Mandarin in simplified characters, Iranian Persian, Swahili, and Filipino,
which is standard Tagalog.
"""


def xtreme_36(codes: Iterable[str]) -> frozenset[str]:
    """Return one code for each of XTREME's 36 languages: that of the set's standard variety, without regions (fra-CA).

    A language that the set does not have stands under XTREME's own code.
    """
    known = set(codes)

    def meant(language: str) -> str:
        names = _XTREME_AS.get(language) or (language, *(c for c in sorted(known) if c.startswith(f"{language}_")))
        return next((name for name in names if name in known), language)

    return frozenset(map(meant, XTREME_36))


def group_of(codes: Iterable[str], group: frozenset[str]) -> frozenset[str]:
    """Return the codes that belong to a group; script and region after the language are passed over.

    A code of a member of a macrolanguage (arb, swh, lvs) counts as the macrolanguage too.
    """
    bare = {code: code.replace("-", "_").split("_")[0] for code in codes}
    return frozenset(code for code, name in bare.items() if {name, _MACRO.get(name, name)} & group)


TATOEBA_112 = _ordered(
    "afr amh ang ara arq arz ast awa aze bel ben ber bos bre bul cat cbk ceb ces cha cmn cor csb cym dan deu dsb dtp "
    "ell epo est eus fao fin fra fry gla gle glg gsw heb hin hrv hsb hun hye ido ile ina ind isl ita jav jpn kab kat "
    "kaz khm kor kur kzj lat lfn lit lvs mal mar max mhr mkd mon nds nld nno nob nov oci orv pam pes pms pol por ron "
    "rus slk slv spa sqi srp swe swg swh tam tat tel tgl tha tuk tur tzl uig ukr urd uzb vie war wuu xho yid yue zsm"
)
"""The languages of LASER's Tatoeba files but English."""

FLORES_203 = _ordered(
    "ace_Arab ace_Latn acm_Arab acq_Arab aeb_Arab afr_Latn ajp_Arab aka_Latn als_Latn amh_Ethi apc_Arab arb_Arab "
    "arb_Latn ars_Arab ary_Arab arz_Arab asm_Beng ast_Latn awa_Deva ayr_Latn azb_Arab azj_Latn bak_Cyrl bam_Latn "
    "ban_Latn bel_Cyrl bem_Latn ben_Beng bho_Deva bjn_Arab bjn_Latn bod_Tibt bos_Latn bug_Latn bul_Cyrl cat_Latn "
    "ceb_Latn ces_Latn cjk_Latn ckb_Arab crh_Latn cym_Latn dan_Latn deu_Latn dik_Latn dyu_Latn dzo_Tibt ell_Grek "
    "epo_Latn est_Latn eus_Latn ewe_Latn fao_Latn fij_Latn fin_Latn fon_Latn fra_Latn fur_Latn fuv_Latn gaz_Latn "
    "gla_Latn gle_Latn glg_Latn grn_Latn guj_Gujr hat_Latn hau_Latn heb_Hebr hin_Deva hne_Deva hrv_Latn hun_Latn "
    "hye_Armn ibo_Latn ilo_Latn ind_Latn isl_Latn ita_Latn jav_Latn jpn_Jpan kab_Latn kac_Latn kam_Latn kan_Knda "
    "kas_Arab kas_Deva kat_Geor kaz_Cyrl kbp_Latn kea_Latn khk_Cyrl khm_Khmr kik_Latn kin_Latn kir_Cyrl kmb_Latn "
    "kmr_Latn knc_Arab knc_Latn kon_Latn kor_Hang lao_Laoo lij_Latn lim_Latn lin_Latn lit_Latn lmo_Latn ltg_Latn "
    "ltz_Latn lua_Latn lug_Latn luo_Latn lus_Latn lvs_Latn mag_Deva mai_Deva mal_Mlym mar_Deva min_Arab min_Latn "
    "mkd_Cyrl mlt_Latn mni_Beng mos_Latn mri_Latn mya_Mymr nld_Latn nno_Latn nob_Latn npi_Deva nso_Latn nus_Latn "
    "nya_Latn oci_Latn ory_Orya pag_Latn pan_Guru pap_Latn pbt_Arab pes_Arab plt_Latn pol_Latn por_Latn prs_Arab "
    "quy_Latn ron_Latn run_Latn rus_Cyrl sag_Latn san_Deva sat_Olck scn_Latn shn_Mymr sin_Sinh slk_Latn slv_Latn "
    "smo_Latn sna_Latn snd_Arab som_Latn sot_Latn spa_Latn srd_Latn srp_Cyrl ssw_Latn sun_Latn swe_Latn swh_Latn "
    "szl_Latn tam_Taml taq_Latn taq_Tfng tat_Cyrl tel_Telu tgk_Cyrl tgl_Latn tha_Thai tir_Ethi tpi_Latn tsn_Latn "
    "tso_Latn tuk_Latn tum_Latn tur_Latn twi_Latn tzm_Tfng uig_Arab ukr_Cyrl umb_Latn urd_Arab uzn_Latn vec_Latn "
    "vie_Latn war_Latn wol_Latn xho_Latn ydd_Hebr yor_Latn yue_Hant zho_Hans zho_Hant zsm_Latn zul_Latn"
)
"""The languages of FLORES-200 (204, with English) but English."""

NTREX_127 = _ordered(
    "afr amh arb aze-Latn bak bel bem ben bod bos bul cat ces ckb-Arab cym dan deu div dzo ell eng-GB eng-IN eng-US "
    "est eus ewe fao fas fij fil fin fra fra-CA fuc gle glg guj hau heb hin hmn hrv hun hye ibo ind isl ita jpn kan "
    "kat kaz khm kin kir kmr kor lao lav lit ltz mal mar mey mkd mlg mlt mon mri msa mya nde nep nld nno nob nso nya "
    "orm pan pol por por-BR prs pus ron rus shi sin slk slv smo sna-Latn snd-Arab som spa spa-MX sqi srp-Cyrl "
    "srp-Latn ssw swa swe tah tam tat tel tgk-Cyrl tha tir ton tsn tuk tur uig ukr urd uzb ven vie wol xho yor yue "
    "zho-CN zho-TW zul"
)
"""The languages of NTREX-128 but English, of which it has three more varieties."""
