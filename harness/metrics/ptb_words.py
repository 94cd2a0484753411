"""The word lists and character sets of the Penn Treebank tokeniser.

A word list is the content of a regular expression group that ignores case; `(?-i:A)` stands for a capital A only.
Character sets are ranges of hexadecimal code points within the Basic Multilingual Plane.
"""

# A full stop after one of these belongs to the token.
ABBREVIATIONS = (
    "Jan|Feb|Mar|Apr|Jun|Jul|Aug|Sept?|Oct|Nov|Dec|Mon|Tues?|Wed|Thu(?:rs)?|Fri"
    "|Ala|Ariz|(?-i:A)z|(?-i:A)rk|Calif|Colo|Conn|Ct|Dak|(?-i:D)el|Fla|Ga|(?-i:I)ll|Ind|Kans?|Ky|(?-i:L)a|(?-i:M)ass|Md"
    "|Mich|Minn|(?-i:M)iss|Mo|Mont|Neb|Nev|Okla|(?-i:O)re|(?-i:P)a|Penn|Tenn|(?-i:T)ex|Va|Vt|(?-i:W)ash|Wisc?|Wyo"
    "|Inc|Cos?|Corp|Pp?t(?-i:[ye])s?|Ltd|Plc|Rt|Bancorp|Bhd|Assn|Univ|Intl|Sys"
    r"|tel|est|ext|sq|Jr|Sr|Bros|(?:Ed|Ph)\.D|Blvd|Rd|Esq|etc|al|seq|Bldg"
)

# The same; a name usually follows.
TITLES = (
    "Mr|Mrs|Ms|(?-i:M)iss|Drs?|Profs?|Sens?|Reps?|Attys?|Lt|Col|Gen|Messrs|Govs?|Adm|Rev|Maj|Sgt|Cpl|Pvt|Mt|Capt|Ste?"
    "|Ave|Pres|Lieut|Hon|Brig|Co?mdr|Pfc|Spc|Supts?|Det|Mme|Mlle|Msgr|Sfc|Adj|Adv|Asst|Assoc|Ens|Insp"
    r"|vs|Alex|Wm|Jos|Cie|a\.k\.a|cf|TREAS|Dept|Ph|ft|Invt|Elec|Natl|M(?-i:[ft])g"
)

# The same, where a number follows.
BEFORE_NUMBERS = "ca|figs?|prop|nos?|art|bldg|pp|op"

# With a capital, these start a new sentence after a single letter and a full stop.
STARTERS = (
    "About According Additionally After An A As At But Earlier He Her Here However If In It Last Many More Mr. Ms. Now"
    " Once One Other Our She Since So Some Such That The Their Then There These They This We When While What Yet You"
)

CONTRACTIONS = r"cont'd\.?|nor'easter|c'mon|e'er|s'mores|ev'ry|li'l|nat'l"

EXTENSIONS = (
    "bat|bmp|c|cgi|class|cpp|dll|doc|docx|exe|gif|gz|h|htm|html|jar|java|jpeg|jpg|mov|mp3|pdf|php|pl|png|ppt|ps|py|sql"
    "|tar|txt|wav|x|xml|zip"
)

# The tokeniser uses the letters and digits of Unicode 6.1: those of `unicodedata`, without the ones added since (up to
# Unicode 16), and with two letters that have since become marks.
LETTERS_SINCE = (
    "37F 528-52F 560 588 5EF 860-86A 870-887 889-88E 8A1 8AD-8C9 978 980 9FC AF9 C34 C5A C5D C80 CDD D04 D54-D56 D5F"
    " E86 E89 E8C E8E-E93 E98 EA0 EA8-EA9 EAC 13F5 13F8-13FD 16F1-16F8 170D 171F 1878 191D-191E 19B0-19C0 19C8-19C9"
    " 1B4C 1C80-1C8A 1C90-1CBA 1CBD-1CBF 1CF2-1CF3 1CFA 2C2F 2C5F 312E-312F 31BB-31BF 4DB6-4DBF 9FCD-9FFF A698-A69D"
    " A78F A794-A79F A7AB-A7F7 A8FD-A8FE A9E0-A9E4 A9E6-A9EF A9FA-A9FE AA7E-AA7F AB30-AB5A AB5C-AB69 AB70-ABBF"
)
LETTERS_THEN = "1885-1886"
DIGITS_SINCE = "DE6-DEF A9F0-A9F9"

# Characters other than letters that may be part of a word.
MARKS = (
    "AD 2C2-2C5 2D2-2DF 2E5-2EB 2ED 2EF-36F 375 378-379 384-385 3F6 483-487 55A-55F 591-5BD 5BF 5C1-5C2 5C4-5C5 5C7"
    " 615-61A 64B-65E 670 6D6-6E4 6E7-6ED 6FD-6FE 70F 711 730-74C 7A6-7B0 7EB-7F3 900-903 93C 93E-94E 951-955 962-963"
    " 981-983 9BC 9BE-9C4 9C7-9C8 9CB-9CD 9D7 9E2-9E3 A01-A03 A3C A3E-A4F A81-A83 ABC ABE-ACF B82 BBE-BC2 BC6-BC8"
    " BCA-BCD C01-C03 C3E-C56 D3E-D44 D46-D48 E31 E34-E3A E47-E4E EB1 EB4-EBC EC8-ECD"
)

# Characters that are tokens of their own.
SYMBOLS = (
    "25-26 2B 5C 5E 7C 7E A6-A9 AC AE-B1 B4 B6-B8 D7 F7 387 5BE 5C0 5C3 5C6 5F3-5F4 600-603 606-60A 60C 614 61B 61E 66A"
    " 66D 703-70D 7F6-7F8 964-965 E4F 1FBD 2016-2017 2020-2023 2030-2038 203B 203E-2042 2044 207A-207E 208A-208E"
    " 2100-2101 2103-2106 2108-2109 2114 2116-2118 211E-2123 2125 2127 2129 212E 213A-213B 2140-2144 214A-214D 214F"
    " 2190-2BFF 3012 30FB FF01-FF0F FF1A-FF20 FF3B-FF40 FF5B-FF65"
)

BRACKETS = str.maketrans(
    {"(": "-LRB-", ")": "-RRB-", "[": "-LSB-", "]": "-RSB-", "{": "-LCB-", "}": "-RCB-"},
)
PARENTHESES = str.maketrans({"(": "-LRB-", ")": "-RRB-"})
SIGNS = str.maketrans(
    {"\u00bc": "1/4", "\u00bd": "1/2", "\u00be": "3/4", "\u2153": "1/3", "\u2154": "2/3"}
    | {"\u00a2": "cents", "\u00a3": "#", "\u0080": "$", "\u00a4": "$", "\u20a0": "$", "\u20ac": "$"}
)
QUOTES = str.maketrans(
    {"\u0091": "`", "\u2018": "`", "\u201b": "`", "\u2039": "`", "\u0092": "'", "\u2019": "'", "\u203a": "'"}
    | {"\u0093": "``", "\u201c": "``", "\u00ab": "``", '"': "''", "\u0094": "''", "\u201d": "''", "\u00bb": "''"}
)
