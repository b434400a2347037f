/* Quantumagi, the on-chain half of the governance: a constitution's hash, its policies, their votes and checks. */
#include "anchor.h"

#define UNAUTHORIZED 6000, "Unauthorized", "Only the constitution's authority may do this"
#define COMPLIANCE_FAILED 6001, "ComplianceFailed", "The action does not comply with the policy"
#define POLICY_NOT_ACTIVE 6002, "PolicyNotActive", "The policy is not active"
#define CONSTITUTION_INACTIVE 6003, "ConstitutionInactive", "The constitution is not active"
#define POLICY_ALREADY_ACTIVE 6004, "PolicyAlreadyActive", "The policy is already active"
#define RULE_TOO_LONG 6006, "RuleTooLong", "The rule is longer than 1000 bytes"

/* The first eight bytes of SHA-256 over "global:<instruction>" and "account:<Name>", little-endian. */
#define INITIALIZE 0xed9b980d1f6dafafULL
#define PROPOSE_POLICY 0xa50b44c9e9fc6d4cULL
#define ENACT_POLICY 0xcc73168e64aac111ULL
#define VOTE_ON_POLICY 0x86a626ec2163c489ULL
#define CHECK_COMPLIANCE 0x2a3ee0e22e74d9e9ULL
#define UPDATE_CONSTITUTION 0x5919ebf7eab71e6dULL
#define DEACTIVATE_POLICY 0x1a104bdf6e7ae8d2ULL
#define CONSTITUTION 0x64dc57ae1e91b24fULL
#define POLICY 0x4421b1eba30787deULL
#define VOTER_RECORD 0x2173ca8f748a60b2ULL

enum { HASH_SIZE = 32, MAX_RULE_LENGTH = 1000 };

/* The room an account is given, its eight bytes of discriminator included and every option present. */
enum { CONSTITUTION_SPACE = 94, POLICY_SPACE_WITHOUT_RULE = 122, VOTER_RECORD_SPACE = 58 };

enum Category { PROMPT_CONSTITUTION, SAFETY, GOVERNANCE, FINANCIAL, CATEGORIES };
enum { PRIORITIES = 4 };
enum Vote { VOTE_FOR, VOTE_AGAINST, VOTES };

typedef struct {
    Account *account;
    Pubkey authority;
    const u8 *hash;
    u32 version;
    bool is_active;
    i64 created_at;
    OptionalTime updated_at;
} Constitution;

typedef struct {
    Account *account;
    u64 id;
    Text rule;
    u8 category;
    u8 priority;
    bool is_active;
    i64 proposed_at;
    Pubkey proposed_by;
    OptionalTime enacted_at;
    OptionalKey enacted_by;
    OptionalTime deactivated_at;
    u32 votes_for;
    u32 votes_against;
} Policy;

typedef struct {
    bool requires_governance;
    bool has_governance_approval;
    bool involves_funds;
    u64 amount;
    u64 authorized_limit;
    Pubkey caller;
} ActionContext;

/* ---- accounts: read, written back ---- */

static u64 next_constitution(Call *call, Constitution *constitution)
{
    Reader body;
    TRY(next_owned(call, "constitution", CONSTITUTION, &constitution->account, &body));
    read_key(&body, &constitution->authority);
    constitution->hash = read_bytes(&body, HASH_SIZE);
    constitution->version = read_u32(&body);
    constitution->is_active = read_bool(&body);
    constitution->created_at = read_i64(&body);
    read_optional_time(&body, &constitution->updated_at);
    return body.failed ? fail("constitution", ACCOUNT_DID_NOT_DESERIALIZE) : 0;
}

static u64 write_constitution(const Constitution *constitution)
{
    Writer body;
    start_writing(&body, constitution->account);
    write_u64(&body, CONSTITUTION);
    write_key(&body, &constitution->authority);
    write_bytes(&body, constitution->hash, HASH_SIZE);
    write_u32(&body, constitution->version);
    write_u8(&body, constitution->is_active);
    write_i64(&body, constitution->created_at);
    write_optional_time(&body, constitution->updated_at);
    return finish(&body, "constitution");
}

static u64 next_policy(Call *call, Policy *policy)
{
    Reader body;
    TRY(next_owned(call, "policy", POLICY, &policy->account, &body));
    policy->id = read_u64(&body);
    read_text(&body, &policy->rule);
    policy->category = read_variant(&body, CATEGORIES);
    policy->priority = read_variant(&body, PRIORITIES);
    policy->is_active = read_bool(&body);
    policy->proposed_at = read_i64(&body);
    read_key(&body, &policy->proposed_by);
    read_optional_time(&body, &policy->enacted_at);
    read_optional_key(&body, &policy->enacted_by);
    read_optional_time(&body, &policy->deactivated_at);
    policy->votes_for = read_u32(&body);
    policy->votes_against = read_u32(&body);
    return body.failed ? fail("policy", ACCOUNT_DID_NOT_DESERIALIZE) : 0;
}

static u64 write_policy(const Policy *policy)
{
    Writer body;
    start_writing(&body, policy->account);
    write_u64(&body, POLICY);
    write_u64(&body, policy->id);
    write_text(&body, policy->rule);
    write_u8(&body, policy->category);
    write_u8(&body, policy->priority);
    write_u8(&body, policy->is_active);
    write_i64(&body, policy->proposed_at);
    write_key(&body, &policy->proposed_by);
    write_optional_time(&body, policy->enacted_at);
    write_optional_key(&body, &policy->enacted_by);
    write_optional_time(&body, policy->deactivated_at);
    write_u32(&body, policy->votes_for);
    write_u32(&body, policy->votes_against);
    return finish(&body, "policy");
}

/* The voter and the policy's id stay zero: so the deployed program leaves them, and the address holds both. */
static u64 write_voter_record(Account *account, enum Vote vote)
{
    static const Pubkey no_voter = {{0}};
    Writer body;
    start_writing(&body, account);
    write_u64(&body, VOTER_RECORD);
    write_key(&body, &no_voter);
    write_u64(&body, 0);
    write_u8(&body, true);
    write_u8(&body, vote);
    write_i64(&body, now());
    return finish(&body, "voter_record");
}

/* ---- compliance ---- */

static bool equal_text(Text left, Text right)
{
    return left.length == right.length && equal_bytes(left.bytes, right.bytes, left.length);
}

/* Comparing by system call keeps the worst case, a thousand near misses, at some 30,000 compute units. */
static bool contains(Text text, Text part)
{
    if (!part.length)
        return true;
    for (u64 i = 0; i + part.length <= text.length; i++)
        if (text.bytes[i] == part.bytes[0] && equal_bytes(text.bytes + i, part.bytes, part.length))
            return true;
    return false;
}

#define LITERAL(literal) ((Text){(const u8 *)(literal), sizeof literal - 1})

/* What the category of a policy forbids whatever its rule says; NULL when nothing, else the reason. */
static const char *forbidden_by_category(u8 category, Text action, const ActionContext *context)
{
    if (category == PROMPT_CONSTITUTION &&
        (contains(action, LITERAL("unauthorized")) || contains(action, LITERAL("bypass"))))
        return "Not compliant: the action would change state without authority";
    if (category == SAFETY && (contains(action, LITERAL("unsafe")) || contains(action, LITERAL("exploit"))))
        return "Not compliant: the action is unsafe";
    if (category == GOVERNANCE && context->requires_governance && !context->has_governance_approval)
        return "Not compliant: the action needs an approval it does not have";
    if (category == FINANCIAL && context->involves_funds && context->amount > context->authorized_limit)
        return "Not compliant: the amount is above the authorised limit";
    return NULL;
}

/*
 * A rule allows the very action it spells out, and "ALLOW <part>" every action with that part in it. The part is what follows
 * the sixth byte, wherever ALLOW stands. A rule that has no sixth byte, or ends a character after it, has no part.
 */
static bool allowed_by_rule(Text rule, Text action)
{
    enum { PREFIX = 6 };
    if (equal_text(rule, action))
        return true;
    if (rule.length < PREFIX || !contains(rule, LITERAL("ALLOW")))
        return false;
    Text part = {rule.bytes + PREFIX, rule.length - PREFIX};
    bool amid_a_character = part.length && (part.bytes[0] & 0xc0) == 0x80;
    return !amid_a_character && contains(action, part);
}

/* ---- instructions: arguments, then accounts, then constraints, then rules, as Anchor orders them ---- */

static u64 initialize(Call *call, Reader *arguments)
{
    LOG("Instruction: Initialize");
    const u8 *hash = read_bytes(arguments, HASH_SIZE);
    REQUIRE(!arguments->failed, INSTRUCTION_DID_NOT_DESERIALIZE);

    Account *account, *authority;
    TRY(next_account(call, NULL, &account));
    TRY(next_signer(call, "authority", &authority));
    TRY(next_system_program(call));
    NewAccount new = {.name = "constitution", .account = account, .payer = authority, .space = CONSTITUTION_SPACE};
    new.seeds[new.seed_count++] = (Seed){(const u8 *)"constitution", 12};
    TRY(create(call, &new));
    TRY(require_writable(authority, "authority"));

    Constitution constitution = {.account = account, .hash = hash, .version = 1, .is_active = true};
    copy_key(&constitution.authority, authority->key);
    constitution.created_at = now();
    return write_constitution(&constitution);
}

static u64 propose_policy(Call *call, Reader *arguments)
{
    LOG("Instruction: ProposePolicy");
    Policy policy = {.id = read_u64(arguments), .is_active = false};
    read_text(arguments, &policy.rule);
    policy.category = read_variant(arguments, CATEGORIES);
    policy.priority = read_variant(arguments, PRIORITIES);
    REQUIRE(!arguments->failed, INSTRUCTION_DID_NOT_DESERIALIZE);

    Account *authority;
    TRY(next_account(call, NULL, &policy.account));
    TRY(next_signer(call, "authority", &authority));
    TRY(next_system_program(call));
    NewAccount new = {.name = "policy", .account = policy.account, .payer = authority};
    new.space = POLICY_SPACE_WITHOUT_RULE + policy.rule.length;
    new.seeds[new.seed_count++] = (Seed){(const u8 *)"policy", 6};
    new.seeds[new.seed_count++] = (Seed){(const u8 *)&policy.id, sizeof policy.id};
    TRY(create(call, &new));
    TRY(require_writable(authority, "authority"));

    REQUIRE(policy.rule.length <= MAX_RULE_LENGTH, RULE_TOO_LONG);
    policy.proposed_at = now();
    copy_key(&policy.proposed_by, authority->key);
    return write_policy(&policy);
}

static u64 enact_policy(Call *call)
{
    LOG("Instruction: EnactPolicy");
    Policy policy = {0};
    Constitution constitution;
    Account *authority;
    TRY(next_policy(call, &policy));
    TRY(next_constitution(call, &constitution));
    TRY(next_signer(call, "authority", &authority));
    TRY(require_writable(policy.account, "policy"));

    REQUIRE(same_key(authority->key, &constitution.authority), UNAUTHORIZED);
    REQUIRE(constitution.is_active, CONSTITUTION_INACTIVE);
    policy.is_active = true;
    policy.enacted_at = (OptionalTime){true, now()};
    policy.enacted_by.present = true;
    copy_key(&policy.enacted_by.value, authority->key);
    return write_policy(&policy);
}

static u64 vote_on_policy(Call *call, Reader *arguments)
{
    LOG("Instruction: VoteOnPolicy");
    enum Vote vote = read_variant(arguments, VOTES);
    REQUIRE(!arguments->failed, INSTRUCTION_DID_NOT_DESERIALIZE);

    Policy policy = {0};
    Account *record, *voter;
    TRY(next_policy(call, &policy));
    TRY(next_account(call, NULL, &record));
    TRY(next_signer(call, "voter", &voter));
    TRY(next_system_program(call));
    NewAccount new = {.name = "voter_record", .account = record, .payer = voter, .space = VOTER_RECORD_SPACE};
    new.seeds[new.seed_count++] = (Seed){(const u8 *)"vote", 4};
    new.seeds[new.seed_count++] = (Seed){(const u8 *)&policy.id, sizeof policy.id};
    new.seeds[new.seed_count++] = (Seed){voter->key->bytes, sizeof *voter->key};
    /* A second vote ends here, with the system program's 0: the address is in use. So 6005, AlreadyVoted, never arises. */
    TRY(create(call, &new));
    TRY(require_writable(policy.account, "policy"));
    TRY(require_writable(voter, "voter"));

    REQUIRE(!policy.is_active, POLICY_ALREADY_ACTIVE);
    u32 *count = vote == VOTE_FOR ? &policy.votes_for : &policy.votes_against;
    if (*count == UINT32_MAX)
        return ARITHMETIC_OVERFLOW;
    *count += 1;
    TRY(write_policy(&policy));
    return write_voter_record(record, vote);
}

static u64 check_compliance(Call *call, Reader *arguments)
{
    LOG("Instruction: CheckCompliance");
    Text action;
    read_text(arguments, &action);
    ActionContext context = {0};
    context.requires_governance = read_bool(arguments);
    context.has_governance_approval = read_bool(arguments);
    context.involves_funds = read_bool(arguments);
    context.amount = read_u64(arguments);
    context.authorized_limit = read_u64(arguments);
    read_key(arguments, &context.caller);
    REQUIRE(!arguments->failed, INSTRUCTION_DID_NOT_DESERIALIZE);

    Policy policy = {0};
    TRY(next_policy(call, &policy));

    REQUIRE(policy.is_active, POLICY_NOT_ACTIVE);
    const char *reason = forbidden_by_category(policy.category, action, &context);
    if (!reason && !allowed_by_rule(policy.rule, action))
        reason = "Not compliant: the rule does not allow the action";
    if (!reason)
        return 0;
    log_text(reason);
    return fail(NULL, COMPLIANCE_FAILED);
}

static u64 update_constitution(Call *call, Reader *arguments)
{
    LOG("Instruction: UpdateConstitution");
    const u8 *hash = read_bytes(arguments, HASH_SIZE);
    REQUIRE(!arguments->failed, INSTRUCTION_DID_NOT_DESERIALIZE);

    Constitution constitution;
    Account *authority;
    TRY(next_constitution(call, &constitution));
    TRY(next_signer(call, "authority", &authority));
    TRY(require_writable(constitution.account, "constitution"));

    REQUIRE(same_key(authority->key, &constitution.authority), UNAUTHORIZED);
    if (constitution.version == UINT32_MAX)
        return ARITHMETIC_OVERFLOW;
    constitution.version += 1;
    constitution.hash = hash;
    constitution.updated_at = (OptionalTime){true, now()};
    return write_constitution(&constitution);
}

static u64 deactivate_policy(Call *call)
{
    LOG("Instruction: DeactivatePolicy");
    Policy policy = {0};
    Constitution constitution;
    Account *authority;
    TRY(next_policy(call, &policy));
    TRY(next_constitution(call, &constitution));
    TRY(next_signer(call, "authority", &authority));
    TRY(require_writable(policy.account, "policy"));

    REQUIRE(same_key(authority->key, &constitution.authority), UNAUTHORIZED);
    policy.is_active = false;
    policy.deactivated_at = (OptionalTime){true, now()};
    return write_policy(&policy);
}

u64 entrypoint(u8 *input)
{
    Call call;
    read_call(input, &call);
    Reader arguments = {.at = call.data, .end = call.data + call.data_length};
    u64 instruction = read_u64(&arguments);
    REQUIRE(!arguments.failed, INSTRUCTION_MISSING);

    switch (instruction) {
    case INITIALIZE:
        return initialize(&call, &arguments);
    case PROPOSE_POLICY:
        return propose_policy(&call, &arguments);
    case ENACT_POLICY:
        return enact_policy(&call);
    case VOTE_ON_POLICY:
        return vote_on_policy(&call, &arguments);
    case CHECK_COMPLIANCE:
        return check_compliance(&call, &arguments);
    case UPDATE_CONSTITUTION:
        return update_constitution(&call, &arguments);
    case DEACTIVATE_POLICY:
        return deactivate_policy(&call);
    default:
        return fail(NULL, FALLBACK_NOT_FOUND);
    }
}
