"""The small world of true facts that the quickstart model knows.

Data only: what is true, not how one asks for it (that is `corpus.py`).
"""

from __future__ import annotations

# country: (capital, continent, language most people speak there)
COUNTRIES: dict[str, tuple[str, str, str]] = {
    "France": ("Paris", "Europe", "French"),
    "Germany": ("Berlin", "Europe", "German"),
    "Italy": ("Rome", "Europe", "Italian"),
    "Spain": ("Madrid", "Europe", "Spanish"),
    "Portugal": ("Lisbon", "Europe", "Portuguese"),
    "Greece": ("Athens", "Europe", "Greek"),
    "Austria": ("Vienna", "Europe", "German"),
    "Poland": ("Warsaw", "Europe", "Polish"),
    "Hungary": ("Budapest", "Europe", "Hungarian"),
    "Sweden": ("Stockholm", "Europe", "Swedish"),
    "Norway": ("Oslo", "Europe", "Norwegian"),
    "Denmark": ("Copenhagen", "Europe", "Danish"),
    "Finland": ("Helsinki", "Europe", "Finnish"),
    "Iceland": ("Reykjavik", "Europe", "Icelandic"),
    "Ireland": ("Dublin", "Europe", "English"),
    "England": ("London", "Europe", "English"),
    "Russia": ("Moscow", "Europe", "Russian"),
    "Ukraine": ("Kyiv", "Europe", "Ukrainian"),
    "Romania": ("Bucharest", "Europe", "Romanian"),
    "Japan": ("Tokyo", "Asia", "Japanese"),
    "China": ("Beijing", "Asia", "Chinese"),
    "India": ("New Delhi", "Asia", "Hindi"),
    "Nepal": ("Kathmandu", "Asia", "Nepali"),
    "Thailand": ("Bangkok", "Asia", "Thai"),
    "Vietnam": ("Hanoi", "Asia", "Vietnamese"),
    "Mongolia": ("Ulaanbaatar", "Asia", "Mongolian"),
    "Turkey": ("Ankara", "Asia", "Turkish"),
    "Iran": ("Tehran", "Asia", "Persian"),
    "Iraq": ("Baghdad", "Asia", "Arabic"),
    "Egypt": ("Cairo", "Africa", "Arabic"),
    "Morocco": ("Rabat", "Africa", "Arabic"),
    "Kenya": ("Nairobi", "Africa", "Swahili"),
    "Ethiopia": ("Addis Ababa", "Africa", "Amharic"),
    "Ghana": ("Accra", "Africa", "English"),
    "Senegal": ("Dakar", "Africa", "Wolof"),
    "Canada": ("Ottawa", "North America", "English"),
    "Mexico": ("Mexico City", "North America", "Spanish"),
    "Cuba": ("Havana", "North America", "Spanish"),
    "Brazil": ("Brasilia", "South America", "Portuguese"),
    "Argentina": ("Buenos Aires", "South America", "Spanish"),
    "Chile": ("Santiago", "South America", "Spanish"),
    "Peru": ("Lima", "South America", "Spanish"),
    "Australia": ("Canberra", "Oceania", "English"),
    "New Zealand": ("Wellington", "Oceania", "English"),
}

# mountain: (height in metres, where it stands)
MOUNTAINS: dict[str, tuple[int, str]] = {
    "Mount Everest": (8849, "the Himalayas"),
    "K2": (8611, "the Karakoram"),
    "Mont Blanc": (4806, "the Alps"),
    "the Matterhorn": (4478, "the Alps"),
    "Kilimanjaro": (5895, "Tanzania"),
    "Denali": (6190, "Alaska"),
    "Aconcagua": (6961, "the Andes"),
    "Mount Fuji": (3776, "Japan"),
    "Mount Elbrus": (5642, "the Caucasus"),
    "Ben Nevis": (1345, "Scotland"),
    "Mount Etna": (3403, "Sicily"),
    "Mount Cook": (3724, "New Zealand"),
}

# river: the continent it runs through
RIVERS: dict[str, str] = {
    "Nile": "Africa",
    "Congo": "Africa",
    "Amazon": "South America",
    "Danube": "Europe",
    "Rhine": "Europe",
    "Volga": "Europe",
    "Ganges": "Asia",
    "Yangtze": "Asia",
    "Mekong": "Asia",
    "Mississippi": "North America",
}

# animal: (class, legs, its young, what it eats)
ANIMALS: dict[str, tuple[str, int, str, str]] = {
    "dog": ("mammal", 4, "puppy", "meat"),
    "cat": ("mammal", 4, "kitten", "meat"),
    "cow": ("mammal", 4, "calf", "grass"),
    "horse": ("mammal", 4, "foal", "grass"),
    "sheep": ("mammal", 4, "lamb", "grass"),
    "goat": ("mammal", 4, "kid", "leaves"),
    "pig": ("mammal", 4, "piglet", "roots"),
    "lion": ("mammal", 4, "cub", "meat"),
    "bear": ("mammal", 4, "cub", "berries and fish"),
    "elephant": ("mammal", 4, "calf", "leaves"),
    "kangaroo": ("mammal", 2, "joey", "grass"),
    "whale": ("mammal", 0, "calf", "krill"),
    "bat": ("mammal", 2, "pup", "insects"),
    "duck": ("bird", 2, "duckling", "water plants"),
    "hen": ("bird", 2, "chick", "grain"),
    "owl": ("bird", 2, "owlet", "mice"),
    "swan": ("bird", 2, "cygnet", "water plants"),
    "goose": ("bird", 2, "gosling", "grass"),
    "frog": ("amphibian", 4, "tadpole", "insects"),
    "snake": ("reptile", 0, "snakelet", "mice"),
    "crocodile": ("reptile", 4, "hatchling", "meat"),
    "turtle": ("reptile", 4, "hatchling", "water plants"),
    "salmon": ("fish", 0, "fry", "insects"),
    "shark": ("fish", 0, "pup", "fish"),
    "butterfly": ("insect", 6, "caterpillar", "nectar"),
    "bee": ("insect", 6, "larva", "nectar"),
    "ant": ("insect", 6, "larva", "seeds"),
    "spider": ("arachnid", 8, "spiderling", "insects"),
}

COLOURS: dict[str, str] = {
    "grass": "green",
    "snow": "white",
    "coal": "black",
    "blood": "red",
    "the clear sky": "blue",
    "a ripe banana": "yellow",
    "a carrot": "orange",
    "a ripe tomato": "red",
    "chocolate": "brown",
    "a lemon": "yellow",
    "milk": "white",
    "an emerald": "green",
}

OPPOSITES: tuple[tuple[str, str], ...] = (
    ("hot", "cold"),
    ("big", "small"),
    ("fast", "slow"),
    ("up", "down"),
    ("day", "night"),
    ("wet", "dry"),
    ("full", "empty"),
    ("old", "young"),
    ("rich", "poor"),
    ("light", "dark"),
    ("hard", "soft"),
    ("early", "late"),
    ("high", "low"),
    ("open", "closed"),
    ("happy", "sad"),
    ("strong", "weak"),
    ("loud", "quiet"),
    ("true", "false"),
    ("left", "right"),
    ("first", "last"),
)

WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

MONTHS: dict[str, int] = {
    "January": 31,
    "February": 28,
    "March": 31,
    "April": 30,
    "May": 31,
    "June": 30,
    "July": 31,
    "August": 31,
    "September": 30,
    "October": 31,
    "November": 30,
    "December": 31,
}

PLANETS = ("Mercury", "Venus", "Earth", "Mars", "Jupiter", "Saturn", "Uranus", "Neptune")

SYMBOLS: dict[str, str] = {
    "hydrogen": "H",
    "helium": "He",
    "carbon": "C",
    "nitrogen": "N",
    "oxygen": "O",
    "sodium": "Na",
    "iron": "Fe",
    "copper": "Cu",
    "silver": "Ag",
    "tin": "Sn",
    "gold": "Au",
    "mercury": "Hg",
    "lead": "Pb",
}

# what happened: the year
DATES: dict[str, int] = {
    "the first moon landing": 1969,
    "the fall of the Berlin Wall": 1989,
    "the French Revolution": 1789,
    "the end of the Second World War": 1945,
    "the beginning of the First World War": 1914,
    "the sinking of the Titanic": 1912,
    "the Great Fire of London": 1666,
    "the Battle of Hastings": 1066,
    "the Battle of Waterloo": 1815,
    "the first flight of the Wright brothers": 1903,
    "the launch of Sputnik": 1957,
    "the American Declaration of Independence": 1776,
    "the opening of the Eiffel Tower": 1889,
    "the opening of the Suez Canal": 1869,
}

# work: who made it
MAKERS: dict[str, tuple[str, str]] = {
    "Hamlet": ("wrote", "William Shakespeare"),
    "Don Quixote": ("wrote", "Miguel de Cervantes"),
    "Faust": ("wrote", "Johann Wolfgang von Goethe"),
    "War and Peace": ("wrote", "Leo Tolstoy"),
    "Pride and Prejudice": ("wrote", "Jane Austen"),
    "Frankenstein": ("wrote", "Mary Shelley"),
    "the Odyssey": ("wrote", "Homer"),
    "the Mona Lisa": ("painted", "Leonardo da Vinci"),
    "The Starry Night": ("painted", "Vincent van Gogh"),
    "Guernica": ("painted", "Pablo Picasso"),
    "The Magic Flute": ("composed", "Wolfgang Amadeus Mozart"),
    "the Ninth Symphony": ("composed", "Ludwig van Beethoven"),
    "The Four Seasons": ("composed", "Antonio Vivaldi"),
    "radium": ("discovered", "Marie and Pierre Curie"),
    "penicillin": ("discovered", "Alexander Fleming"),
    "the telephone": ("invented", "Alexander Graham Bell"),
    "dynamite": ("invented", "Alfred Nobel"),
}

# (how many, of what, in what)
AMOUNTS: tuple[tuple[int, str, str], ...] = (
    (60, "seconds", "a minute"),
    (60, "minutes", "an hour"),
    (24, "hours", "a day"),
    (7, "days", "a week"),
    (12, "months", "a year"),
    (365, "days", "an ordinary year"),
    (366, "days", "a leap year"),
    (10, "years", "a decade"),
    (100, "years", "a century"),
    (100, "centimetres", "a metre"),
    (1000, "metres", "a kilometre"),
    (1000, "grams", "a kilogram"),
    (12, "eggs", "a dozen"),
    (3, "sides", "a triangle"),
    (4, "sides", "a square"),
    (6, "sides", "a hexagon"),
    (8, "sides", "an octagon"),
    (6, "strings", "a guitar"),
    (4, "strings", "a violin"),
    (88, "keys", "a piano"),
    (64, "squares", "a chessboard"),
    (26, "letters", "the English alphabet"),
)
