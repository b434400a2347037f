/* What a program may rely on: the input the loader hands over, the runtime's structures and its system calls. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef uint8_t u8;
typedef uint32_t u32;
typedef uint64_t u64;
typedef int64_t i64;

typedef struct {
    u8 bytes[32];
} Pubkey;

/* The structures below are the runtime's C interface: the order and the size of the fields are fixed. */
typedef struct {
    const Pubkey *key;
    u64 *lamports;
    u64 data_length;
    u8 *data;
    const Pubkey *owner;
    u64 rent_epoch;
    bool is_signer;
    bool is_writable;
    bool is_executable;
} Account;

typedef struct {
    const Pubkey *key;
    bool is_writable;
    bool is_signer;
} AccountMeta;

typedef struct {
    const Pubkey *program_id;
    const AccountMeta *accounts;
    u64 account_count;
    const u8 *data;
    u64 data_length;
} Instruction;

typedef struct {
    const u8 *bytes;
    u64 length;
} Seed;

typedef struct {
    const Seed *seeds;
    u64 count;
} SignerSeeds;

typedef struct {
    u64 slot;
    i64 epoch_started_at;
    u64 epoch;
    u64 leader_schedule_epoch;
    i64 unix_timestamp;
} Clock;

typedef struct {
    u64 lamports_per_byte_year;
    u64 exemption_threshold_bits; /* an IEEE 754 double; sBPF has no floating point */
    u8 burn_percent;
} Rent;

extern void sol_log_(const char *text, u64 length);
extern void sol_log_pubkey(const Pubkey *key);
extern void sol_memmove_(void *to, const void *from, u64 length);
extern void sol_memcmp_(const void *left, const void *right, u64 length, int *result);
extern u64 sol_try_find_program_address(const Seed *, u64 count, const Pubkey *program, Pubkey *found, u8 *bump);
extern u64 sol_invoke_signed_c(const Instruction *, const Account *, int accounts, const SignerSeeds *, int signers);
extern u64 sol_get_clock_sysvar(Clock *);
extern u64 sol_get_rent_sysvar(Rent *);

static const Pubkey SYSTEM_PROGRAM = {{0}};

/* No instruction of ours takes more accounts; a caller may send more, and they are passed over. */
enum { MAX_ACCOUNTS = 4 };

typedef struct {
    const Pubkey *program_id;
    Account accounts[MAX_ACCOUNTS];
    u64 account_count; /* at most MAX_ACCOUNTS */
    u64 taken;         /* how many of them the instruction has claimed so far */
    const u8 *data;
    u64 data_length;
} Call;

static inline bool equal_bytes(const void *left, const void *right, u64 length)
{
    int difference = 0;
    sol_memcmp_(left, right, length, &difference);
    return difference == 0;
}

static inline bool same_key(const Pubkey *left, const Pubkey *right)
{
    return equal_bytes(left, right, sizeof(Pubkey));
}

/* Reads an aligned number of the input and steps over it. */
static inline u64 *step_u64(u8 **at)
{
    u64 *value = (u64 *)*at;
    *at += sizeof(u64);
    return value;
}

/*
 * The loader's input: a count, the accounts, the instruction data, the program's address. An account that was named
 * before is one byte with the earlier place and seven of padding. The runtime wrote all this, so its lengths hold.
 */
static inline void read_call(u8 *at, Call *call)
{
    enum { FIRST_MENTION = 0xff, ROOM_TO_GROW = 10240 };
    u64 given = *step_u64(&at);

    call->taken = 0;
    call->account_count = given < MAX_ACCOUNTS ? given : MAX_ACCOUNTS;
    for (u64 i = 0; i < given; i++) {
        Account account = {0};
        u8 mention = at[0];
        if (mention != FIRST_MENTION) {
            at += 8;
            if (i < MAX_ACCOUNTS)
                call->accounts[i] = call->accounts[mention];
            continue;
        }
        account.is_signer = at[1];
        account.is_writable = at[2];
        account.is_executable = at[3];
        at += 8;
        account.key = (const Pubkey *)at;
        at += sizeof(Pubkey);
        account.owner = (const Pubkey *)at;
        at += sizeof(Pubkey);
        account.lamports = step_u64(&at);
        account.data_length = *step_u64(&at);
        account.data = at;
        at += (account.data_length + ROOM_TO_GROW + 7) & ~7ULL;
        account.rent_epoch = *step_u64(&at);
        if (i < MAX_ACCOUNTS)
            call->accounts[i] = account;
    }
    call->data_length = *step_u64(&at);
    call->data = at;
    call->program_id = (const Pubkey *)(at + call->data_length);
}
