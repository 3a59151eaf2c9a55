"""The C ABI as text: every symbol, prototype, struct, member, enum and constant, a line each; compared with granule.abi.

    abi.py check  HEADERS LIBRARY RECORD     is the ABI what the record says?
    abi.py update HEADERS LIBRARY RECORD     write the record anew; refused where a line is lost or changed and the
                                             soversion is the same

A line that is lost, or reads otherwise, breaks programs that are linked already: the library then needs a new soversion
(abi_history in the top meson.build). A line that is new does not, nor a reserved member that gets a name, in place. Either way
the record changes in the same commit.

Sizes and offsets are the compiler's: a program that prints them is generated from the headers and run.
"""

import pathlib
import re
import subprocess
import sys
import tempfile


def output_of(*command):
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def preprocess(headers, *options):
    return output_of("cc", "-E", "-P", *options, f"-I{headers}", "-include", "granule/granule.h", "-x", "c", "/dev/null")


def one_line(text):
    text = re.sub(r"\s+", " ", text).replace(" *", "*").replace("* ", "*").strip()
    return re.sub(r"\*(?=\w)", "* ", text)


class Interface:
    """What the headers declare."""

    def __init__(self, headers):
        text = preprocess(headers)
        # Attributes say nothing about the ABI, and what is not granule's is not ours to record.
        text = re.sub(r"__attribute__\(\((?:[^()]|\([^()]*\))*\)\)", "", text)
        ours = text[text.index("typedef struct granule_device granule_device;"):]
        self.structs = {name: self._members(body)
                        for body, name in re.findall(r"typedef struct granule_\w+ \{(.*?)\} (granule_\w+);", ours, re.DOTALL)}
        self.enums = {name: re.findall(r"\b(GRANULE_\w+)\b", body)
                      for body, name in re.findall(r"typedef enum granule_\w+ \{(.*?)\} (granule_\w+);", ours, re.DOTALL)}
        rest = re.sub(r"typedef (?:struct|enum) \w+ \{.*?\} \w+;", "", ours, flags=re.DOTALL)
        self.handles = re.findall(r"typedef struct (granule_\w+) \1;", rest)
        rest = re.sub(r"typedef struct (granule_\w+) \1;", "", rest)
        self.functions = sorted(one_line(declaration) for declaration in re.findall(r"[^;{}]*\bgranule_\w+\s*\([^;]*;", rest))
        defined = output_of("cc", "-E", "-dM", f"-I{headers}", "-include", "granule/granule.h", "-x", "c", "/dev/null")
        self.constants = sorted(name for name, value in re.findall(r"^#define (GRANULE_\w+)(?!\()\b[ \t]*(.*)$", defined, re.MULTILINE)
                                if re.search(r"\d|MAX", value) and "__attribute__" not in value)
        counted = len(re.findall(r"\btypedef (?:struct|enum) \w+ \{", ours))
        if counted != len(self.structs) + len(self.enums):
            sys.exit(f"abi.py: {counted} structs and enums in the headers, {len(self.structs) + len(self.enums)} understood")

    @staticmethod
    def _members(body):
        members = []
        for declaration in filter(None, map(one_line, body.split(";"))):
            pointer = re.fullmatch(r"(.*)\(\* ?(\w+)\)(\(.*\))", declaration)
            if pointer:
                members.append((pointer.group(2), declaration))
                continue
            for name in re.findall(r"(\w+)(?:\[\w+\])?(?:,|$)", declaration):
                members.append((name, declaration))
        return members

    def program(self):
        """A program that prints sizes, offsets and values."""
        lines = ["#include <granule/granule.h>", "#include <stdio.h>", "#define S(x) (unsigned long long)sizeof(x)",
                 "int main(void) {"]
        for struct, members in self.structs.items():
            # One that begins with its size may grow at its end.
            if members[0][0] != "struct_size":
                lines.append(f'printf("struct {struct}: %llu bytes\\n", S({struct}));')
            for name, declaration in members:
                lines.append(f'printf("struct {struct} . {name}: at %llu, %llu bytes: {declaration}\\n", '
                             f"(unsigned long long)offsetof({struct}, {name}), S((({struct}*)0)->{name}));")
        for enum, values in self.enums.items():
            lines.append(f'printf("enum {enum}: %llu bytes\\n", S({enum}));')
            lines += [f'printf("enum {enum} . {value} = %lld\\n", (long long){value});' for value in values]
        lines += [f'printf("constant {name} = %llu\\n", (unsigned long long)({name}));' for name in self.constants]
        return "\n".join([*lines, "return 0; }"])

    def lines(self, headers):
        with tempfile.TemporaryDirectory() as directory:
            source, program = pathlib.Path(directory) / "abi.c", pathlib.Path(directory) / "abi"
            source.write_text(self.program(), encoding="utf-8")
            subprocess.run(["cc", "-std=c11", f"-I{headers}", source, "-o", program], check=True)
            printed = output_of(program).splitlines()
        versions = ("constant GRANULE_VERSION_",)
        return [*(f"handle {name}" for name in self.handles), *(line for line in printed if not line.startswith(versions)),
                *(f"function {declaration}" for declaration in self.functions)]


def symbols(library):
    defined = output_of("nm", "-D", "--defined-only", "--with-symbol-versions", library)
    return sorted("symbol " + re.sub("@+", " of ", line.split()[2]) for line in defined.splitlines() if " T " in line)


def soversion(library):
    return re.search(r"SONAME\s+libgranule\.so\.(\d+)", output_of("objdump", "-p", library)).group(1)


def was_reserved(line, new):
    """Whether the line is of a reserved member whose bytes have a name now."""
    member = re.fullmatch(r"struct (\w+) \. reserved\w*: at (\d+), (\d+) bytes: .*", line)
    return member and any(re.match(rf"struct {member[1]} \. \w+: at {member[2]}, ", other) for other in new)


def main():
    what, headers, library, record = sys.argv[1:]
    now = [f"soversion {soversion(library)}", *Interface(headers).lines(headers), *symbols(library)]
    record = pathlib.Path(record)
    then = record.read_text(encoding="utf-8").splitlines() if record.exists() else []
    new = [line for line in now if line not in set(then)]
    lost = [line for line in then if line not in set(now) and not was_reserved(line, new)]
    if what == "update":
        if then and lost and now[0] == then[0]:
            sys.exit("abi.py: this breaks programs that are linked already, and needs a new soversion (abi_history):\n- "
                     + "\n- ".join(lost))
        record.write_text("\n".join(now) + "\n", encoding="utf-8")
        print(f"{len(now)} lines; {len(lost)} lost, {len(new)} new")
        return
    if lost or new:
        breaks = "This breaks programs that are linked already: it needs a new soversion." if lost else "Nothing is lost."
        sys.exit("abi.py: the ABI is not the one on record. " + breaks + " A line in abi_history (meson.build), then abi.py update.\n"
                 + "".join(f"- {line}\n" for line in lost) + "".join(f"+ {line}\n" for line in new))
    print(f"{len(now)} lines, as on record")


if __name__ == "__main__":
    main()
