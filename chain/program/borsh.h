/* Borsh, bounded: readers and writers that never leave their bytes and remember that they would have had to. */
#pragma once

#include "solana.h"

typedef struct {
    const u8 *at;
    const u8 *end;
    bool failed; /* once set, every further value read is zero */
} Reader;

typedef struct {
    u8 *at;
    const u8 *end;
    bool failed;
} Writer;

/* UTF-8 inside the bytes it was read from; never terminated by a zero. */
typedef struct {
    const u8 *bytes;
    u64 length;
} Text;

typedef struct {
    bool present;
    i64 value;
} OptionalTime;

typedef struct {
    bool present;
    Pubkey value;
} OptionalKey;

static inline void copy_key(Pubkey *to, const Pubkey *from)
{
    sol_memmove_(to, from, sizeof(Pubkey));
}

static const u8 *read_bytes(Reader *reader, u64 length)
{
    if (reader->failed || length > (u64)(reader->end - reader->at)) {
        reader->failed = true;
        return NULL;
    }
    const u8 *bytes = reader->at;
    reader->at += length;
    return bytes;
}

static u64 read_number(Reader *reader, u64 width)
{
    const u8 *bytes = read_bytes(reader, width);
    u64 value = 0;
    if (bytes)
        for (u64 i = 0; i < width; i++)
            value |= (u64)bytes[i] << (8 * i);
    return value;
}

static u8 read_u8(Reader *reader) { return (u8)read_number(reader, 1); }
static u32 read_u32(Reader *reader) { return (u32)read_number(reader, 4); }
static u64 read_u64(Reader *reader) { return read_number(reader, 8); }
static i64 read_i64(Reader *reader) { return (i64)read_number(reader, 8); }

/* A byte below `variants`: an enum without fields, a bool, or the flag of an option. */
static u8 read_variant(Reader *reader, u8 variants)
{
    u8 value = read_u8(reader);
    if (value < variants)
        return value;
    reader->failed = true;
    return 0;
}

static bool read_bool(Reader *reader) { return read_variant(reader, 2); }

static void read_key(Reader *reader, Pubkey *key)
{
    const u8 *bytes = read_bytes(reader, sizeof(Pubkey));
    if (bytes)
        copy_key(key, (const Pubkey *)bytes);
}

static void read_optional_time(Reader *reader, OptionalTime *time)
{
    time->present = read_bool(reader);
    time->value = time->present ? read_i64(reader) : 0;
}

static void read_optional_key(Reader *reader, OptionalKey *key)
{
    key->present = read_bool(reader);
    if (key->present)
        read_key(reader, &key->value);
}

/*
 * The length of the UTF-8 character at `at`, 0 where there is none: Unicode's table 3-7, which leaves out overlong forms,
 * surrogates and everything above U+10FFFF.
 */
static u64 character_length(const u8 *at, u64 left)
{
    u8 lead = at[0], low = 0x80, high = 0xbf;
    u64 length;

    if (lead < 0x80)
        return 1;
    if (lead < 0xc2 || lead > 0xf4)
        return 0;
    length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4;
    if (lead == 0xe0)
        low = 0xa0;
    else if (lead == 0xed)
        high = 0x9f;
    else if (lead == 0xf0)
        low = 0x90;
    else if (lead == 0xf4)
        high = 0x8f;
    if (length > left || at[1] < low || at[1] > high)
        return 0;
    for (u64 i = 2; i < length; i++)
        if (at[i] < 0x80 || at[i] > 0xbf)
            return 0;
    return length;
}

static bool is_utf8(Text text)
{
    for (u64 i = 0; i < text.length;) {
        u64 step = character_length(text.bytes + i, text.length - i);
        if (!step)
            return false;
        i += step;
    }
    return true;
}

static void read_text(Reader *reader, Text *text)
{
    text->length = read_u32(reader);
    text->bytes = read_bytes(reader, text->length);
    if (!reader->failed && is_utf8(*text))
        return;
    reader->failed = true;
    *text = (Text){0};
}

/* The bytes may overlap the place they are written to: an account's text is written back over itself. */
static void write_bytes(Writer *writer, const void *bytes, u64 length)
{
    if (writer->failed || length > (u64)(writer->end - writer->at)) {
        writer->failed = true;
        return;
    }
    sol_memmove_(writer->at, bytes, length);
    writer->at += length;
}

static void write_u8(Writer *writer, u8 value) { write_bytes(writer, &value, sizeof value); }
static void write_u32(Writer *writer, u32 value) { write_bytes(writer, &value, sizeof value); }
static void write_u64(Writer *writer, u64 value) { write_bytes(writer, &value, sizeof value); }
static void write_i64(Writer *writer, i64 value) { write_bytes(writer, &value, sizeof value); }
static void write_key(Writer *writer, const Pubkey *key) { write_bytes(writer, key, sizeof *key); }

static void write_text(Writer *writer, Text text)
{
    write_u32(writer, (u32)text.length);
    write_bytes(writer, text.bytes, text.length);
}

static void write_optional_time(Writer *writer, OptionalTime time)
{
    write_u8(writer, time.present);
    if (time.present)
        write_i64(writer, time.value);
}

static void write_optional_key(Writer *writer, const OptionalKey *key)
{
    write_u8(writer, key->present);
    if (key->present)
        write_key(writer, &key->value);
}
