# SPDX-License-Identifier: Apache-2.0
"""The names of Apple's frameworks in src/backends/vz, and the tables of Apple's headers.

Reads each message that the backend sends (kiln__send and its kin, see objc.h), each delegate's
method, each class and constant, and says what the tables do not have: class, kind, selector, number and
types of the arguments, type of the result, type string, value.
"""
import fnmatch
import pathlib
import re

HERE = pathlib.Path(__file__).resolve().parent
SOURCE = HERE.parent.parent / "src/backends/vz"

# What the headers write in another way than C does.
SAME = {"CStr*": "char*", "instancetype": "id", "ObjectType*": "id", "ObjectType**": "id*",
        "NSErrorDomain*": "NSString*", "void(^)(NSError*)": "kiln__error_block",
        "KeyType**": "id*",
        "void(^)(VZVirtioSocketConnection*,NSError*)": "kiln__object_block"}
SCALARS = {"void": "v", "BOOL": 'KILN__BOOL_ENCODING', "NSInteger": "q", "NSUInteger": "Q", "uint32_t": "I",
           "uint64_t": "Q", "int": "i"}


def plain(kind):
    """A type without what C does not say: nullability, generics, const, blanks."""
    kind = re.sub(r"\b(_Nullable|const)\b", "", kind)
    kind = re.sub(r"<[^<>]*(<[^<>]*>[^<>]*)*>", "", kind)
    kind = re.sub(r"\s+", "", kind)
    return SAME.get(kind, kind)


class Tables:
    def __init__(self):
        self.rows, self.supers, self.constants, self.words = {}, {}, {}, set()
        for name in ("selectors.tsv", "more.tsv"):
            for line in (HERE / name).read_text().splitlines():
                if not line or line.startswith("#"):
                    continue
                cls, above, kind, selector, arguments, returns = line.split("\t")[:6]
                wanted = [plain(a) for a in arguments.split(" | ")] if arguments else []
                self.rows[cls, kind, selector] = (wanted, plain(returns), arguments)
                if above:
                    self.supers[cls] = above
                self.words |= {cls, above} | set(re.findall(r"\w+", arguments + " " + returns))
        for name in ("constants.tsv", "more_constants.tsv"):
            for line in (HERE / name).read_text().splitlines():
                if line and not line.startswith("#"):
                    enumeration, constant, value = line.split("\t")[:3]
                    self.constants[constant] = value
                    self.words.add(enumeration)

    def find(self, cls, kind, selector):
        while cls:
            if (cls, kind, selector) in self.rows:
                return self.rows[cls, kind, selector]
            if cls == "NSObject":
                return None
            cls = self.supers.get(cls, "NSObject")
        return None


def macros_of(text):
    """The function-like macros that a source defines: (name, parameters, body)."""
    joined = re.sub(r"\\\n\s*", " ", text)
    return [(m[1], [p.strip() for p in m[2].split(",")], m[3])
            for m in re.finditer(r"^#define (\w+)\(([\w, ]*)\)\s+(.*)$", joined, re.M)]


def expansions(text, macros):
    """What the calls of the macros stand for, as text of the lines where they are."""
    lines = text.split("\n")
    extra = [""] * len(lines)
    for name, parameters, body in macros:
        for line, arguments in find_calls(text, name):
            if len(arguments) != len(parameters):
                continue
            given = dict(zip(parameters, arguments))
            extra[line - 1] += " " + re.sub(r"\w+", lambda m: given.get(m[0], m[0]), body)
    return [(line, more) for line, more in enumerate(extra, 1) if more]


def strip(text):
    """C without comments and preprocessor lines, lines kept."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.S)
    return re.sub(r"^[ \t]*#(?:[^\n]*\\\n)*[^\n]*", lambda m: "\n" * m.group().count("\n"), text, flags=re.M)


def find_calls(text, name):
    """(line, arguments) of each call of a macro, as text."""
    for match in re.finditer(r"\b" + name + r"\(", text):
        depth, start, parts, quoted = 1, match.end(), [], False
        for i in range(match.end(), len(text)):
            c = text[i]
            if c == '"':
                quoted = not quoted
            if quoted:
                continue
            depth += c in "({"
            depth -= c in ")}"
            if depth == 0 or (c == "," and depth == 1):
                parts.append(" ".join(text[start:i].split()))
                start = i + 1
            if depth == 0:
                break
        yield text.count("\n", 0, match.start()) + 1, parts


def types_of(text):
    inner = text.strip()[1:-1].strip()
    return [plain(t) for t in inner.split(",")] if inner else []


class Check:
    def __init__(self, sources):
        self.tables = Tables()
        self.sources = sources
        self.wrong = []
        self.used = {}  # (class, kind, selector) -> file:line
        self.classes = {}
        for name, text in sorted(sources.items()):
            plain_text = strip(text)
            local = [] if name.startswith("objc.h") else macros_of(text)
            self.file(name, plain_text)
            for line, more in expansions(plain_text, local):
                self.file(name, more, line)
        self.constants()

    def complain(self, where, words):
        self.wrong.append(f"{where}: {words}")

    def cls(self, where, name):
        self.classes.setdefault(name, where)
        known = name in self.tables.supers or any(key[0] == name for key in self.tables.rows)
        if not known and name not in self.tables.words:
            self.complain(where, f"no table has the class {name}")

    def message(self, where, kind, cls, selector, types, returns):
        selector = selector.strip('"')
        self.cls(where, cls)
        row = self.tables.find(cls, kind, selector)
        sign = f"{kind}[{cls} {selector}]"
        if not row:
            self.complain(where, f"no table has {sign}")
            return
        self.used.setdefault((cls, kind, selector), where)
        if types is not None and types != row[0]:
            self.complain(where, f"{sign} takes {row[0]}, not {types}")
        if returns is not None and plain(returns) != row[1]:
            self.complain(where, f"{sign} returns {row[1]}, not {plain(returns)}")

    def file(self, name, text, first=1):
        bridge = name.startswith("objc.")
        calls = lambda text, macro: ((line + first - 1, a) for line, a in find_calls(text, macro))
        for line, a in calls(text, "kiln__send"):
            self.message(f"{name}:{line}", "-", a[1], a[2], types_of(a[3]), a[0])
            if len(a) - 5 != len(types_of(a[3])):
                self.complain(f"{name}:{line}", f"{a[2]} is given {len(a) - 5} arguments")
        for line, a in calls(text, "kiln__send_class"):
            self.message(f"{name}:{line}", "+", a[1], a[2], types_of(a[3]), a[0])
            if len(a) - 4 != len(types_of(a[3])):
                self.complain(f"{name}:{line}", f"{a[2]} is given {len(a) - 4} arguments")
        for line, a in calls(text, "kiln__make"):
            self.message(f"{name}:{line}", "-", a[0], a[1], types_of(a[2]), "id")
            self.message(f"{name}:{line}", "+", a[0], "alloc", [], "id")
            if len(a) - 3 != len(types_of(a[2])):
                self.complain(f"{name}:{line}", f"{a[1]} is given {len(a) - 3} arguments")
        for line, a in calls(text, "kiln__set"):
            self.message(f"{name}:{line}", "-", a[0], a[1], types_of(f"({a[2]})"), "void")
        for line, a in calls(text, "kiln__alloc"):
            self.message(f"{name}:{line}", "+", a[0], "alloc", [], "id")
        for line, a in calls(text, "kiln__new"):
            self.message(f"{name}:{line}", "-", a[0], "init", [], "id")
        for macro in "kiln__has_class", "kiln__vz_need":
            for line, a in calls(text, macro):
                self.cls(f"{name}:{line}", a[0])
        for line, a in calls(text, "kiln__has"):
            self.message(f"{name}:{line}", "-", a[0], a[1], None, None)
        for line, a in calls(text, "set_devices"):
            self.devices(f"{name}:{line}", a[1].strip('"'), a[2])
        for line, a in calls(text, "kiln__method"):
            self.method(f"{name}:{line}", a)
        if not bridge and re.search(r"\b(KILN__SEND|objc_\w+|sel_registerName|class_\w+)\s*\(", text):
            self.complain(name, "a message past the bridge")

    def devices(self, where, selector, cls):
        self.cls(where, cls)
        self.message(where, "-", "VZVirtualMachineConfiguration", selector, ["NSArray*"], "void")
        row = self.tables.find("VZVirtualMachineConfiguration", "-", selector)
        if row and f"<{cls} *>" not in row[2]:
            self.complain(where, f"{selector} takes {row[2]}, not {cls}")

    def method(self, where, a):
        self.message(where, "p", a[0], a[2], types_of(a[3]), a[1])
        start = {"void": '"v@:', "BOOL": 'KILN__BOOL_ENCODING "@:'}.get(a[1])
        if a[4] != f'{start}{"@" * len(types_of(a[3]))}"':
            self.complain(where, f"{a[2]}: the type string {a[4]} is wrong")

    def constants(self):
        text = strip(self.sources["framework.h"])
        for names in re.findall(r"typedef struct objc_object ([^;]*);", text):
            for cls in names.replace(",", " ").split():
                self.cls("framework.h", cls)
        for kind in re.findall(r"typedef \w+ (VZ\w+);", text):
            if kind not in self.tables.words:
                self.complain("framework.h", f"no table has the type {kind}")
        for constant, value in re.findall(r"\b(VZ\w+) = (\d+)", text):
            if self.tables.constants.get(constant) != value:
                self.complain("framework.h", f"{constant} is {self.tables.constants.get(constant)}, not {value}")


    def owners(self):
        """The rows that are used: (class that declares it, kind, selector) -> where."""
        found = {}
        for (cls, kind, selector), where in self.used.items():
            while cls and (cls, kind, selector) not in self.tables.rows:
                cls = self.tables.supers.get(cls, "NSObject" if cls != "NSObject" else None)
            found[cls, kind, selector] = where
        return found


def coverage(check):
    """Each row of the framework's classes as used (where) or refused (why), and what is neither, or both."""
    lines, wrong, used = [], [], check.owners()
    patterns = [line.split("\t") for line in (HERE / "refused.tsv").read_text().splitlines() if not line.startswith("#")]
    hits = [0] * len(patterns)
    for key, row in sorted(check.tables.rows.items()):
        cls, kind, selector = key
        if not cls.startswith("VZ"):
            continue
        why = None
        for i, (classes, selectors, reason) in enumerate(patterns):
            if fnmatch.fnmatchcase(cls, classes) and fnmatch.fnmatchcase(selector, selectors):
                hits[i] += 1
                why = why or reason
        if key in used:
            if why:
                wrong.append(f"{kind}[{cls} {selector}] is used, but refused.tsv says: {why}")
            lines.append(f"{kind}[{cls} {selector}]\tused: {used[key]}")
            continue
        if not why and (selector == "new" or (kind == "-" and selector == "init")):
            why = "alloc and init are what it is made by" if selector == "new" else "made by the framework"
        if not why and kind == "-" and not row[0] and row[1] != "void":
            why = "reads what kiln itself has set"
        if not why:
            wrong.append(f"{kind}[{cls} {selector}] is neither used nor in refused.tsv")
        lines.append(f"{kind}[{cls} {selector}]\trefused: {why}")
    wrong += [f"refused.tsv: nothing is {a} {b}" for (a, b, _), n in zip(patterns, hits) if not n]
    return lines, wrong


def read():
    return {path.name: path.read_text() for path in SOURCE.glob("*.[ch]")}
