"""Keys are a part of every number that was drawn by them."""

from restore.task.key import Key


def test_no_key_moves_or_is_one_of_the_datas() -> None:
    keys = {"TRAINING": -11, "VALIDATION": -12, "SAMPLING": -13, "ADVERSARY": -14, "LATENT": -17}
    keys["TEACHER"] = -18
    assert {key.name: key.value for key in Key} == keys
    assert not {*keys.values()} & {*range(-10, 0), -15, -16}
