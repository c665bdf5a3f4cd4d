"""Names of files as they can be printed and written anywhere."""


def printable(name: str) -> str:
    """The name in one line of valid Unicode: what is not becomes a backslash escape.

    Python keeps bytes of a name that are no UTF-8 as lone surrogates, which no UTF-8 file takes.
    """
    if name.isprintable():
        return name
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode()
        for letter in name
    )
