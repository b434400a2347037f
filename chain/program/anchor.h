/* What the Anchor framework does around a handler: its errors and their logs, its account checks, its `init`. */
#pragma once

#include "borsh.h"

/* Each error is three arguments of `fail`: number, name, message, as Anchor 0.29 has them. */
#define INSTRUCTION_MISSING 100, "InstructionMissing", "8 byte instruction identifier not provided"
#define FALLBACK_NOT_FOUND 101, "InstructionFallbackNotFound", "Fallback functions are not supported"
#define INSTRUCTION_DID_NOT_DESERIALIZE                                                                                \
    102, "InstructionDidNotDeserialize", "The program could not deserialize the given instruction"
#define CONSTRAINT_MUT 2000, "ConstraintMut", "A mut constraint was violated"
#define CONSTRAINT_SEEDS 2006, "ConstraintSeeds", "A seeds constraint was violated"
#define DISCRIMINATOR_NOT_FOUND                                                                                        \
    3001, "AccountDiscriminatorNotFound", "No 8 byte discriminator was found on the account"
#define DISCRIMINATOR_MISMATCH                                                                                         \
    3002, "AccountDiscriminatorMismatch", "8 byte discriminator did not match what was expected"
#define ACCOUNT_DID_NOT_DESERIALIZE 3003, "AccountDidNotDeserialize", "Failed to deserialize the account"
#define ACCOUNT_DID_NOT_SERIALIZE 3004, "AccountDidNotSerialize", "Failed to serialize the account"
#define NOT_ENOUGH_KEYS 3005, "AccountNotEnoughKeys", "Not enough account keys given to the instruction"
#define OWNED_BY_WRONG_PROGRAM                                                                                         \
    3007, "AccountOwnedByWrongProgram", "The given account is owned by a different program than expected"
#define INVALID_PROGRAM_ID 3008, "InvalidProgramId", "Program ID was not as expected"
#define NOT_SIGNER 3010, "AccountNotSigner", "The given account did not sign"
#define NOT_INITIALIZED                                                                                                \
    3012, "AccountNotInitialized", "The program expected this account to be already initialized"

/* `ProgramError::ArithmeticOverflow`: the runtime's own errors sit in the upper half of the result. */
#define ARITHMETIC_OVERFLOW (24ULL << 32)

#define TRY(step)                                                                                                      \
    do {                                                                                                               \
        u64 error_ = (step);                                                                                           \
        if (error_)                                                                                                    \
            return error_;                                                                                             \
    } while (0)

#define REQUIRE(condition, ERROR)                                                                                      \
    do {                                                                                                               \
        if (!(condition))                                                                                              \
            return fail(NULL, ERROR);                                                                                  \
    } while (0)

#define LOG(literal) sol_log_(literal, sizeof literal - 1)

typedef struct {
    char text[256];
    u64 length;
} Line;

static void append(Line *line, const char *text)
{
    while (*text && line->length < sizeof line->text)
        line->text[line->length++] = *text++;
}

static void append_number(Line *line, u64 number)
{
    char digits[21];
    u64 at = sizeof digits - 1;
    digits[at] = '\0';
    do
        digits[--at] = (char)('0' + number % 10);
    while (number /= 10);
    append(line, digits + at);
}

static void log_text(const char *text)
{
    Line line;
    line.length = 0;
    append(&line, text);
    sol_log_(line.text, line.length);
}

/* Logs an error as Anchor does, so that its clients can read it, and returns its number; `account` may be NULL. */
static __attribute__((noinline)) u64 fail(const char *account, u64 number, const char *name, const char *message)
{
    Line line;
    line.length = 0;
    append(&line, account ? "AnchorError caused by account: " : "AnchorError occurred");
    if (account)
        append(&line, account);
    append(&line, ". Error Code: ");
    append(&line, name);
    append(&line, ". Error Number: ");
    append_number(&line, number);
    append(&line, ". Error Message: ");
    append(&line, message);
    append(&line, ".");
    sol_log_(line.text, line.length);
    return number;
}

/* Adds the two keys that should have been the same to the log of an error. */
static u64 comparing(const Pubkey *left, const Pubkey *right, u64 error)
{
    LOG("Left:");
    sol_log_pubkey(left);
    LOG("Right:");
    sol_log_pubkey(right);
    return error;
}

/* Claims the next account of the call; `name` as in the IDL, or NULL where Anchor's log has none (`init`). */
static u64 next_account(Call *call, const char *name, Account **account)
{
    if (call->taken == call->account_count)
        return fail(name, NOT_ENOUGH_KEYS);
    *account = &call->accounts[call->taken++];
    return 0;
}

static u64 next_signer(Call *call, const char *name, Account **signer)
{
    TRY(next_account(call, name, signer));
    return (*signer)->is_signer ? 0 : fail(name, NOT_SIGNER);
}

static u64 next_system_program(Call *call)
{
    const char *name = "system_program";
    Account *account;
    TRY(next_account(call, name, &account));
    if (same_key(account->key, &SYSTEM_PROGRAM))
        return 0;
    return comparing(account->key, &SYSTEM_PROGRAM, fail(name, INVALID_PROGRAM_ID));
}

/* Claims an account of this program and puts `body` on what follows its discriminator. */
static u64 next_owned(Call *call, const char *name, u64 discriminator, Account **account, Reader *body)
{
    TRY(next_account(call, name, account));
    const Account *given = *account;
    if (same_key(given->owner, &SYSTEM_PROGRAM) && *given->lamports == 0)
        return fail(name, NOT_INITIALIZED);
    if (!same_key(given->owner, call->program_id))
        return comparing(given->owner, call->program_id, fail(name, OWNED_BY_WRONG_PROGRAM));

    *body = (Reader){.at = given->data, .end = given->data + given->data_length};
    u64 found = read_u64(body);
    if (body->failed)
        return fail(name, DISCRIMINATOR_NOT_FOUND);
    return found == discriminator ? 0 : fail(name, DISCRIMINATOR_MISMATCH);
}

static u64 require_writable(const Account *account, const char *name)
{
    return account->is_writable ? 0 : fail(name, CONSTRAINT_MUT);
}

static void start_writing(Writer *writer, const Account *account)
{
    *writer = (Writer){.at = account->data, .end = account->data + account->data_length};
}

/* The result of writing the account of that name back. */
static u64 finish(const Writer *writer, const char *name)
{
    return writer->failed ? fail(name, ACCOUNT_DID_NOT_SERIALIZE) : 0;
}

static i64 now(void)
{
    Clock clock;
    sol_get_clock_sysvar(&clock);
    return clock.unix_timestamp;
}

/*
 * `number` times a positive double, rounded down; exact for doubles of at most 32 significant bits (2.0, 1.0, 1.5 …) and
 * numbers below 2^32. The only double a program meets is the rent sysvar's threshold.
 */
static u64 times_double(u64 number, u64 bits)
{
    u64 significand = 1ULL << 31 | (bits >> 21 & 0x7fffffff);
    u64 shift = 1023 + 31 - (bits >> 52 & 0x7ff);
    return shift < 64 ? number * significand >> shift : 0;
}

static u64 rent_exempt_minimum(u64 space)
{
    enum { STORAGE_OVERHEAD = 128 };
    Rent rent;
    sol_get_rent_sysvar(&rent);
    return times_double((space + STORAGE_OVERHEAD) * rent.lamports_per_byte_year, rent.exemption_threshold_bits);
}

enum { MAX_SEEDS = 4 }; /* the bump included */

/* An account to be made at an address derived from seeds; the seeds' last place is left for the bump. */
typedef struct {
    const char *name;
    Account *account;
    Account *payer;
    u64 space;
    Seed seeds[MAX_SEEDS];
    u64 seed_count;
} NewAccount;

enum SystemInstruction { CREATE_ACCOUNT = 0, ASSIGN = 1, TRANSFER = 2, ALLOCATE = 8 };

/*
 * Calls the system program; a zero `payer` leaves the new account alone in the call. A failure there ends the transaction
 * with the system program's own error: the runtime does not give control back.
 */
static u64 invoke_system(const Call *call, const NewAccount *new, Account *payer, const u8 *data, const u8 *data_end)
{
    AccountMeta metas[2];
    u64 count = 0;
    if (payer)
        metas[count++] = (AccountMeta){.key = payer->key, .is_writable = true, .is_signer = true};
    metas[count++] = (AccountMeta){.key = new->account->key, .is_writable = true, .is_signer = true};
    Instruction instruction = {&SYSTEM_PROGRAM, metas, count, data, (u64)(data_end - data)};
    SignerSeeds signer = {new->seeds, new->seed_count};
    return sol_invoke_signed_c(&instruction, call->accounts, (int)call->account_count, &signer, 1);
}

static u64 create_empty(const Call *call, const NewAccount *new, u64 lamports)
{
    u8 data[4 + 8 + 8 + 32];
    Writer writer = {.at = data, .end = data + sizeof data};
    write_u32(&writer, CREATE_ACCOUNT);
    write_u64(&writer, lamports);
    write_u64(&writer, new->space);
    write_key(&writer, call->program_id);
    return invoke_system(call, new, new->payer, data, writer.at);
}

/* Anyone can send lamports to an address before its account exists; that must not keep the account from being made. */
static u64 take_over_funded(const Call *call, const NewAccount *new, u64 lamports)
{
    u8 data[4 + 32];
    u64 held = *new->account->lamports;
    if (held < lamports) {
        Writer transfer = {.at = data, .end = data + sizeof data};
        write_u32(&transfer, TRANSFER);
        write_u64(&transfer, lamports - held);
        TRY(invoke_system(call, new, new->payer, data, transfer.at));
    }
    Writer allocate = {.at = data, .end = data + sizeof data};
    write_u32(&allocate, ALLOCATE);
    write_u64(&allocate, new->space);
    TRY(invoke_system(call, new, NULL, data, allocate.at));

    Writer assign = {.at = data, .end = data + sizeof data};
    write_u32(&assign, ASSIGN);
    write_key(&assign, call->program_id);
    return invoke_system(call, new, NULL, data, assign.at);
}

/* Anchor's `init`: the canonical address or ConstraintSeeds; then an account of this program, rent exempt, all zero. */
static u64 create(const Call *call, NewAccount *new)
{
    Pubkey address = {{0}};
    u8 bump = 0;
    if (sol_try_find_program_address(new->seeds, new->seed_count, call->program_id, &address, &bump) ||
        !same_key(&address, new->account->key))
        return comparing(new->account->key, &address, fail(new->name, CONSTRAINT_SEEDS));
    new->seeds[new->seed_count++] = (Seed){&bump, 1};

    u64 lamports = rent_exempt_minimum(new->space);
    return *new->account->lamports ? take_over_funded(call, new, lamports) : create_empty(call, new, lamports);
}
