"""The texts that tokenizers are compared on: several scripts, emoji, white space, code, numbers,
control tokens, and what is left of broken characters. Seeded and fixed."""

import random

SENTENCES = """The quick brown fox jumps over the lazy dog.
Once upon a time, in a land far away, there lived a king's daughter who couldn't sleep.
Zürich, naïve café, São Paulo, Ærøskøbing, Łódź, Çeşme, Ðà Nẵng.
Съешь же ещё этих мягких французских булок, да выпей чаю.
Ξεσκεπάζω την ψυχοφθόρα βδελυγμία.
نص حكيم له سر قاطع وذو شأن عظيم مكتوب على ثوب أخضر
דג סקרן שט בים מאוכזב ולפתע מצא לו חברה
ऋषियों को सताने वाले दुष्ट राक्षसों के राजा रावण का सर्वनाश
আমি বাংলায় গান গাই।
தமிழ் மொழி மிகவும் பழமையானது
เป็นมนุษย์สุดประเสริฐเลิศคุณค่า กว่าบรรดาฝูงสัตว์เดรัจฉาน
天地玄黃，宇宙洪荒。日月盈昃，辰宿列張。
我能吞下玻璃而不伤身体。
いろはにほへと ちりぬるを わかよたれそ つねならむ
コンピュータは、プログラムに従って動く。
키스의 고유조건은 입술끼리 만나야 하고 특별한 기술은 필요치 않다.
ქართული ენა არის ლამაზი
Հայերենը հնդեվրոպական լեզու է
አማርኛ የኢትዮጵያ ቋንቋ ነው
𐍈𐌰𐌹𐍂𐌸 𐌰𐌽𐌰 𓀀𓁐 𝔘𝔫𝔦𝔠𝔬𝔡𝔢 𝟙𝟚𝟛
Tiếng Việt có nhiều dấu: ắ ằ ẳ ẵ ặ ố ồ ổ ỗ ộ
İstanbul'da ışık ILIK DEĞİL
e\u0301 vs é, ﬁ vs fi, Ａ vs A, ½ vs 1/2, Å vs Å""".splitlines()

PIECES = [
    "", " ", "  ", "   ", "\n", "\n\n", "\r\n", "\t", "\t\t\tx", " \n \n ", "a", " a", "a ", "  a  ", "\u00a0", "\u3000x",
    " " * 31, "x" + " " * 17 + "y", "\n" * 7, "\n \n  \n   x", "tab\tand\u000bvertical\u000cfeed", "\u2028line\u2029para",
    "zero\u200bwidth\u200djoin\ufeff", "\u0000\u0001\u001f\u007f", "soft\u00adhyphen", "\ufffd\ufffd broken", "\ufffd",
    "🙂", "🙂🙂🙂", "👩‍👩‍👧‍👦", "👍🏽 👍🏿", "🇫🇷🇩🇪🇯🇵", "🏳️‍🌈 ❤️ ☺️", "🫠🫡🪿", "a🙂b", " 🙂 ", "1️⃣2️⃣", "🧑🏻‍🚀 in space",
    "0", "7", "42", "007", "1234567890", "3.14159", "1,000,000", "-273.15°C", "1e-10", "0x1F600", "12:34:56", "2024-02-29",
    "١٢٣٤", "१२३", "Ⅷ ⅷ ½ ²³", "100%", "$9.99", "€5", "50/50", "v1.2.3-rc.4+build.5",
    "don't can't won't it's I'm we're you've she'd they'll", "DON'T CAN'T IT'S WE'RE", "rock 'n' roll", "''quoted''", "l'été",
    "snake_case camelCase PascalCase kebab-case SCREAMING_CASE", "HTTPServer XMLHttpRequest iPhone eBay",
    "def f(x):\n    return x**2  # square\n", "for (int i = 0; i < n; ++i) {\n\tsum += a[i];\n}\n",
    "fn main() {\n    println!(\"{}\", 1 << 3);\n}", "SELECT * FROM t WHERE a <> 'b' AND c IS NOT NULL;",
    "<div class=\"a\">x &amp; y</div>", "{\"key\": [1, 2.5, null, true], \"k2\": {}}", "a==b!=c<=d>=e&&f||!g", "// TODO: fix\n/* x */",
    "https://example.com/path?query=1&x=%20#frag", "user@example.org", "C:\\Users\\x\\n", "#!/bin/sh\nset -eu\n", "x=y+z-w*v/u%t",
    "...", "…", "--", "—", "?!?!", "((()))", "[[{}]]", "~~~~", "````", "***bold*** _it_", "!@#$%^&*()_+-=[]{}|;':\",./<>?",
    "<", "<|", "<|im", "<|im_start", "|im_start|>", "<|im_start|>", "<|im_start|>user\nHi<|im_end|>\n", "<|im_end|><|im_end|>",
    "<|endoftext|>", "a<|endoftext|>b", " <|endoftext|> ", "<bos>", "<eos>", "<start_of_turn>user\nHi<end_of_turn>\n<start_of_turn>model\n",
    "<end_of_turn> x", "</s>", "<s>", "<unk>", "<pad>", "<unused7>", "<mask>", "[multimodal]", "<0x0A>", "<0xE2><0x96>", "<repo_name>x",
    "<file_sep>", "<table><tr><td>1</td></tr></table>", "<h1>T</h1>", "▁", "▁▁", "a▁b", "Ġ", "Ġthe", "ĊĊ", "Â£", "Ã©",
    "antidisestablishmentarianism", "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "abababababababab", "ŦħĕƷǯ", "ßẞ ſ", "ªº", "ʰʲʷ", "\u0300\u0301", "ก็", "각", "\u1112\u1161\u11ab",
    "中a文b字", "東京タワー2023年", "「引用」『二重』", "，。！？；：", "你好，世界！Hello, world! 123", "ｈａｌｆ　ｗｉｄｔｈ ｱｲｳ",
    "العربية123English", "שלום-world", "नमस्ते दुनिया 🙏", "ไทยEnglishไทย", "\U0001f9d1\u200d", "\U0010ffff", "\ue000\ue001", "\u202etest\u202c",
]


def broken(rng: random.Random) -> list[str]:
    """Texts cut within a character, as a lossy decoder leaves them."""
    cut = []
    for text in ["né🙂x", "東京", "𝔘x𝔫", "👩‍👧"]:
        data = text.encode()
        for end in range(1, len(data)):
            if data[end] & 0xC0 == 0x80:
                cut.append(data[:end].decode(errors="replace") + data[end:].decode(errors="replace"))
    return rng.sample(cut, 12)


def prompts() -> list[str]:
    rng = random.Random(11)
    made = SENTENCES + PIECES + broken(rng)
    words = " ".join(SENTENCES).split()
    for count in (2, 3, 5, 8, 13, 21, 40):
        for separator in (" ", "  ", "\n", ""):
            made.append(separator.join(rng.choice(words) for _ in range(count)))
    letters = "aé中🙂 \n\t'_1<|>\u0301\u200d"
    for length in (3, 7, 15, 40):
        for _ in range(3):
            made.append("".join(rng.choice(letters) for _ in range(length)))
    return list(dict.fromkeys(made))


if __name__ == "__main__":
    print(len(prompts()))
