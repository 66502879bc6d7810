#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Turns a text file into a C header that defines it as a static string.

usage: embed_text.py NAME INPUT OUTPUT
"""
import sys

name, source, target = sys.argv[1:]
escapes = {ord('"'): '\\"', ord('\\'): '\\\\'}
with open(source, 'rb') as file:
    lines = file.read().splitlines()
with open(target, 'w', encoding='ascii') as file:
    file.write('/* Generated. */\nstatic const char %s[] =\n' % name)
    for line in lines:
        # Three octal digits end an escape, whatever follows.
        text = ''.join(escapes.get(c) or (chr(c) if 32 <= c < 127 else '\\%03o' % c) for c in line)
        file.write('\t"%s\\n"\n' % text)
    file.write('\t"";\n')
