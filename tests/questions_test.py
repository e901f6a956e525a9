"""Questions, and entity types in plain words."""

import pytest

from splitner_jax.inputs import questions
from splitner_jax.runtime.errors import UserError


def test_question_about_a_mention() -> None:
  template = questions.parse(
    "classifier.question", "What kind is {mention} ?", questions.MENTION
  )
  assert questions.fill(template, questions.MENTION, ["IL", "-", "2"]) == [
    "What", "kind", "is", "IL", "-", "2", "?",
  ]  # fmt: skip


@pytest.mark.parametrize("text", ["What is it ?", "", "{type} or {type}"])
def test_a_template_has_its_place_once(text: str) -> None:
  with pytest.raises(UserError, match=r"config.tagger.question: .*\{type\}"):
    questions.parse("tagger.question", text, questions.TYPE)


@pytest.mark.parametrize(
  ("labels", "names"),
  [
    (
      "CARDINAL DATE EVENT FAC GPE LANGUAGE LAW LOC MONEY NORP ORDINAL ORG "
      "PERCENT PERSON PRODUCT QUANTITY TIME WORK_OF_ART",
      [
        "number",
        "date",
        "event",
        "building, airport, road or bridge",
        "country, city or state",
        "language",
        "law or legal document",
        "location",
        "amount of money",
        "nationality, religious or political group",
        "ordinal number",
        "organization",
        "percentage",
        "person",
        "product",
        "quantity or measurement",
        "time",
        "work of art",
      ],
    ),
    (
      "PER ORG LOC MISC",
      ["person", "organization", "location", "miscellaneous name"],
    ),
    (
      "corporation creative-work group location person",
      ["corporation", "creative work", "group", "location", "person"],
    ),
    (
      "Amino_acid Anatomical_system Cancer Cell Cellular_component "
      "Developing_anatomical_structure Gene_or_gene_product "
      "Immaterial_anatomical_entity Multi-tissue_structure Organ Organism "
      "Organism_subdivision Organism_substance Pathological_formation "
      "Simple_chemical Tissue",
      [
        "amino acid",
        "anatomical system",
        "cancer",
        "cell",
        "cellular component",
        "developing anatomical structure",
        "gene or gene product",
        "immaterial anatomical entity",
        "multi-tissue structure",
        "organ",
        "organism",
        "organism subdivision",
        "organism substance",
        "pathological formation",
        "simple chemical",
        "tissue",
      ],
    ),
    (
      "ThreatActor IP_ADDRESS TTP __ a--b OS2Name x",
      ["threat actor", "ip address", "ttp", "__", "a b", "os2name", "x"],
    ),
  ],
)
def test_default_type_names(labels: str, names: list[str]) -> None:
  assert [questions.type_name(label, {}) for label in labels.split()] == names


def test_overrides_come_first() -> None:
  overrides = {"GPE": "place", "my_own": "My OWN"}
  assert questions.type_name("GPE", overrides) == "place"
  assert questions.type_name("my_own", overrides) == "My OWN"
  assert questions.type_name("ORG", overrides) == "organization"


@pytest.mark.parametrize(
  ("text", "names"),
  [
    ("", {}),
    (" ; ", {}),
    (
      "GPE=country or city;ORG=organization",
      {"GPE": "country or city", "ORG": "organization"},
    ),
    (" GPE =  a\tplace = here ;", {"GPE": "a place = here"}),
  ],
)
def test_parse_type_names(text: str, names: dict[str, str]) -> None:
  assert questions.parse_type_names(text) == names


@pytest.mark.parametrize(
  ("text", "reason"),
  [
    ("GPE", "'GPE' is not LABEL=name"),
    ("ORG=organization;GPE= ", "'GPE=' is not LABEL=name"),
    ("=place", "'=place' is not LABEL=name"),
    ("GPE=a;ORG=b;GPE=c", "'GPE' is named twice; keep one"),
  ],
)
def test_broken_type_names(text: str, reason: str) -> None:
  with pytest.raises(UserError) as caught:
    questions.parse_type_names(text)
  message = str(caught.value)
  assert message.startswith(f"config.data.type_names: {reason}")
  assert "\n" not in message
