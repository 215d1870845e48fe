/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One row a command; what has no row is denied with TPM_RC_COMMAND_CODE, as a
 * TPM that does not have it would, and so are vendor commands.
 *
 * Which rows firmware and kernels need, seen with SeaBIOS 1.16 and Linux 6.1
 * under QEMU 7.2: Startup, SelfTest, GetCapability, StirRandom, GetRandom and
 * HierarchyChangeAuth of the platform (SeaBIOS, at each boot: if that fails it
 * declares the TPM broken, tries HierarchyControl of owner and endorsement,
 * and boots without measuring), PCR_Extend, PCR_Read, ContextSave and
 * ContextLoad, FlushContext, Shutdown (Linux).
 *
 * HierarchyControl is feigned only for "platform, off", which is true already
 * (see HANDLES below). Owner and endorsement "off" must not be feigned: the
 * firmware would believe keys out of reach that are not.
 */
#include "agent/tpm/policy.h"

#define RH_PLATFORM 0x4000000cu
#define RS_PW 0x40000009u

enum class {
	NONE, /* no such command */
	RUN,
	CLEAR,	   /* if the chip is really the VM's */
	SHUT,	   /* HierarchyChangeAuth, HierarchyControl: see feign() */
	PLATFORM,  /* changes the platform, or firmware */
	OWNERSHIP, /* changes who owns the chip */
	LOCKOUT,   /* dictionary-attack state, for all users */
	GLOBAL,	   /* state that outlives the VM, or of all users */
	CLASSES
};

static const char *const reasons[CLASSES] = {
	[NONE] = "deny: no TPM 2.0 command",
	[RUN] = "run",
	[CLEAR] = "deny unless allow_clear",
	[SHUT] = "feign for the platform, deny others",
	[PLATFORM] = "deny: platform or firmware",
	[OWNERSHIP] = "deny: ownership of the chip",
	[LOCKOUT] = "deny: lockout state of the chip",
	[GLOBAL] = "deny: state of the chip that outlives the VM",
};

#define ROW(code) [(code)-LY_TPM_CC_FIRST]

static const uint8_t rows[LY_TPM_CC_LAST - LY_TPM_CC_FIRST + 1] = {
	ROW(0x11f) = PLATFORM,	/* NV_UndefineSpaceSpecial */
	ROW(0x120) = RUN,	/* EvictControl */
	ROW(0x121) = SHUT,	/* HierarchyControl */
	ROW(0x122) = RUN,	/* NV_UndefineSpace */
	ROW(0x124) = PLATFORM,	/* ChangeEPS */
	ROW(0x125) = PLATFORM,	/* ChangePPS */
	ROW(0x126) = CLEAR,	/* Clear */
	ROW(0x127) = OWNERSHIP, /* ClearControl */
	ROW(0x128) = GLOBAL,	/* ClockSet */
	ROW(0x129) = SHUT,	/* HierarchyChangeAuth */
	ROW(0x12a) = RUN,	/* NV_DefineSpace */
	ROW(0x12b) = PLATFORM,	/* PCR_Allocate */
	ROW(0x12c) = PLATFORM,	/* PCR_SetAuthPolicy */
	ROW(0x12d) = PLATFORM,	/* PP_Commands */
	ROW(0x12e) = OWNERSHIP, /* SetPrimaryPolicy */
	ROW(0x12f) = PLATFORM,	/* FieldUpgradeStart */
	ROW(0x130) = GLOBAL,	/* ClockRateAdjust */
	ROW(0x131) = RUN,	/* CreatePrimary */
	ROW(0x132) = GLOBAL,	/* NV_GlobalWriteLock */
	ROW(0x133) = GLOBAL,	/* GetCommandAuditDigest */
	ROW(0x134) = RUN,	/* NV_Increment */
	ROW(0x135) = RUN,	/* NV_SetBits */
	ROW(0x136) = RUN,	/* NV_Extend */
	ROW(0x137) = RUN,	/* NV_Write */
	ROW(0x138) = RUN,	/* NV_WriteLock */
	ROW(0x139) = LOCKOUT,	/* DictionaryAttackLockReset */
	ROW(0x13a) = LOCKOUT,	/* DictionaryAttackParameters */
	ROW(0x13b) = RUN,	/* NV_ChangeAuth */
	ROW(0x13c) = RUN,	/* PCR_Event */
	ROW(0x13d) = RUN,	/* PCR_Reset */
	ROW(0x13e) = RUN,	/* SequenceComplete */
	ROW(0x13f) = PLATFORM,	/* SetAlgorithmSet */
	ROW(0x140) = GLOBAL,	/* SetCommandCodeAuditStatus */
	ROW(0x141) = PLATFORM,	/* FieldUpgradeData */
	ROW(0x142) = RUN,	/* IncrementalSelfTest */
	ROW(0x143) = RUN,	/* SelfTest */
	ROW(0x144) = RUN,	/* Startup: it follows the VM's reset */
	ROW(0x145) = RUN,	/* Shutdown: the same */
	ROW(0x146) = RUN,	/* StirRandom */
	ROW(0x147) = RUN,	/* ActivateCredential */
	ROW(0x148) = RUN,	/* Certify */
	ROW(0x149) = RUN,	/* PolicyNV */
	ROW(0x14a) = RUN,	/* CertifyCreation */
	ROW(0x14b) = RUN,	/* Duplicate */
	ROW(0x14c) = RUN,	/* GetTime */
	ROW(0x14d) = RUN,	/* GetSessionAuditDigest */
	ROW(0x14e) = RUN,	/* NV_Read */
	ROW(0x14f) = RUN,	/* NV_ReadLock */
	ROW(0x150) = RUN,	/* ObjectChangeAuth */
	ROW(0x151) = RUN,	/* PolicySecret */
	ROW(0x152) = RUN,	/* Rewrap */
	ROW(0x153) = RUN,	/* Create */
	ROW(0x154) = RUN,	/* ECDH_ZGen */
	ROW(0x155) = RUN,	/* HMAC */
	ROW(0x156) = RUN,	/* Import */
	ROW(0x157) = RUN,	/* Load */
	ROW(0x158) = RUN,	/* Quote */
	ROW(0x159) = RUN,	/* RSA_Decrypt */
	ROW(0x15b) = RUN,	/* HMAC_Start */
	ROW(0x15c) = RUN,	/* SequenceUpdate */
	ROW(0x15d) = RUN,	/* Sign */
	ROW(0x15e) = RUN,	/* Unseal */
	ROW(0x160) = RUN,	/* PolicySigned */
	ROW(0x161) = RUN,	/* ContextLoad */
	ROW(0x162) = RUN,	/* ContextSave */
	ROW(0x163) = RUN,	/* ECDH_KeyGen */
	ROW(0x164) = RUN,	/* EncryptDecrypt */
	ROW(0x165) = RUN,	/* FlushContext */
	ROW(0x167) = RUN,	/* LoadExternal */
	ROW(0x168) = RUN,	/* MakeCredential */
	ROW(0x169) = RUN,	/* NV_ReadPublic */
	ROW(0x16a) = RUN,	/* PolicyAuthorize */
	ROW(0x16b) = RUN,	/* PolicyAuthValue */
	ROW(0x16c) = RUN,	/* PolicyCommandCode */
	ROW(0x16d) = RUN,	/* PolicyCounterTimer */
	ROW(0x16e) = RUN,	/* PolicyCpHash */
	ROW(0x16f) = RUN,	/* PolicyLocality */
	ROW(0x170) = RUN,	/* PolicyNameHash */
	ROW(0x171) = RUN,	/* PolicyOR */
	ROW(0x172) = RUN,	/* PolicyTicket */
	ROW(0x173) = RUN,	/* ReadPublic */
	ROW(0x174) = RUN,	/* RSA_Encrypt */
	ROW(0x176) = RUN,	/* StartAuthSession */
	ROW(0x177) = RUN,	/* VerifySignature */
	ROW(0x178) = RUN,	/* ECC_Parameters */
	ROW(0x179) = PLATFORM,	/* FirmwareRead */
	ROW(0x17a) = RUN,	/* GetCapability */
	ROW(0x17b) = RUN,	/* GetRandom */
	ROW(0x17c) = RUN,	/* GetTestResult */
	ROW(0x17d) = RUN,	/* Hash */
	ROW(0x17e) = RUN,	/* PCR_Read */
	ROW(0x17f) = RUN,	/* PolicyPCR */
	ROW(0x180) = RUN,	/* PolicyRestart */
	ROW(0x181) = RUN,	/* ReadClock */
	ROW(0x182) = RUN,	/* PCR_Extend */
	ROW(0x183) = GLOBAL,	/* PCR_SetAuthValue */
	ROW(0x184) = RUN,	/* NV_Certify */
	ROW(0x185) = RUN,	/* EventSequenceComplete */
	ROW(0x186) = RUN,	/* HashSequenceStart */
	ROW(0x187) = PLATFORM,	/* PolicyPhysicalPresence */
	ROW(0x188) = RUN,	/* PolicyDuplicationSelect */
	ROW(0x189) = RUN,	/* PolicyGetDigest */
	ROW(0x18a) = RUN,	/* TestParms */
	ROW(0x18b) = GLOBAL,	/* Commit: its counter is one for all */
	ROW(0x18c) = RUN,	/* PolicyPassword */
	ROW(0x18d) = GLOBAL,	/* ZGen_2Phase: the same counter */
	ROW(0x18e) = GLOBAL,	/* EC_Ephemeral: the same counter */
	ROW(0x18f) = RUN,	/* PolicyNvWritten */
	ROW(0x190) = RUN,	/* PolicyTemplate */
	ROW(0x191) = RUN,	/* CreateLoaded */
	ROW(0x192) = RUN,	/* PolicyAuthorizeNV */
	ROW(0x193) = RUN,	/* EncryptDecrypt2 */
	ROW(0x194) = GLOBAL,	/* AC_GetCapability */
	ROW(0x195) = GLOBAL,	/* AC_Send */
	ROW(0x196) = GLOBAL,	/* Policy_AC_SendSelect */
	ROW(0x197) = RUN,	/* CertifyX509 */
	ROW(0x198) = GLOBAL,	/* ACT_SetTimeout */
	ROW(0x199) = RUN,	/* ECC_Encrypt */
	ROW(0x19a) = RUN,	/* ECC_Decrypt */
	ROW(0x19b) = RUN,	/* PolicyCapability */
	ROW(0x19c) = RUN,	/* PolicyParameters */
	ROW(0x19d) = RUN,	/* NV_DefineSpace2 */
	ROW(0x19e) = RUN,	/* NV_ReadPublic2 */
	ROW(0x19f) = GLOBAL,	/* SetCapability */
	ROW(0x1a0) = GLOBAL,	/* ReadOnlyControl */
};

static enum class class_of(uint32_t code) {
	if (code < LY_TPM_CC_FIRST || code > LY_TPM_CC_LAST) return NONE;
	return (enum class)rows[code - LY_TPM_CC_FIRST];
}

static enum ly_tpm_verdict
deny(struct ly_tpm_say *say, uint32_t rc, const char *why)
{
	*say = (struct ly_tpm_say){ .len = LY_TPM_HEAD, .rc = rc, .why = why };
	ly_tpm_answer(rc, say->at);
	return LY_TPM_DENY;
}

/* Success with one password session and no parameters (part 1, 18.9: an empty
 * nonce, continueSession, an empty acknowledgement). */
static enum ly_tpm_verdict
feigned(struct ly_tpm_say *say)
{
	struct ly_wr w;

	*say = (struct ly_tpm_say){ .rc = LY_TPM_RC_SUCCESS, .why = "" };
	w = ly_wr_over(say->at, sizeof(say->at));
	ly_wr_u16(&w, LY_TPM_ST_SESSIONS);
	ly_wr_u32(&w, 19);
	ly_wr_u32(&w, LY_TPM_RC_SUCCESS);
	ly_wr_u32(&w, 0); /* parameterSize */
	ly_wr_u16(&w, 0);
	ly_wr_u8(&w, 1);
	ly_wr_u16(&w, 0);
	assert(!w.bad && ly_wr_len(&w) == 19);
	say->len = 19;
	return LY_TPM_FEIGN;
}

/* "The platform's password be this" and "platform, off": what firmware says
 * before it hands over, authorised with one password. The next command that
 * uses the platform hierarchy is refused, so it is as good as done. */
static bool
closes_platform(const struct ly_tpm_cmd *cmd)
{
	struct ly_rd r = ly_rd_over(cmd->body, cmd->body_len);
	uint32_t area, left;

	if (cmd->tag != LY_TPM_ST_SESSIONS || ly_rd_u32(&r) != RH_PLATFORM)
		return false;
	area = ly_rd_u32(&r);
	left = (uint32_t)ly_rd_left(&r);
	if (ly_rd_u32(&r) != RS_PW)
		return false;
	(void)ly_rd_bytes(&r, ly_rd_u16(&r)); /* nonce */
	(void)ly_rd_u8(&r);		      /* attributes */
	(void)ly_rd_bytes(&r, ly_rd_u16(&r)); /* password */
	if (r.bad || left - ly_rd_left(&r) != area)
		return false; /* two sessions, or a lie */
	if (cmd->code == LY_TPM_CC_HIERARCHY_CHANGE_AUTH)
		(void)ly_rd_bytes(&r, ly_rd_u16(&r));
	else if (ly_rd_u32(&r) != RH_PLATFORM || ly_rd_u8(&r) != 0)
		return false;
	return !r.bad && r.at == r.end;
}

static bool
names(const struct ly_tpm_cmd *cmd, uint32_t handle)
{
	const struct ly_tpm_code *row = ly_tpm_code_of(cmd->code);
	struct ly_rd r = ly_rd_over(cmd->body, cmd->body_len);

	assert(row);
	for (unsigned i = 0; i < row->handles; i++)
		if (ly_rd_u32(&r) == handle)
			return true;
	return false;
}

enum ly_tpm_verdict
ly_tpm_policy_ask(const struct ly_tpm_policy *policy, const uint8_t *buf,
    size_t len, struct ly_tpm_say *say)
{
	struct ly_tpm_cmd cmd;
	enum class class;

	if (ly_tpm_cmd_parse(buf, len, &cmd) != LY_OK)
		return deny(say, ly_tpm_fault(buf, len), "not a command");
	class = class_of(cmd.code);
	if (class == CLEAR && policy->allow_clear)
		return LY_TPM_RUN;
	if (class == SHUT && closes_platform(&cmd))
		return feigned(say);
	if (class != RUN)
		return deny(say, LY_TPM_RC_COMMAND_CODE, reasons[class]);
	if (names(&cmd, RH_PLATFORM))
		return deny(say, LY_TPM_RC_HIERARCHY_H1,
		    "deny: the platform hierarchy is closed");
	if (policy->host_nv && names(&cmd, policy->host_nv))
		return deny(say, LY_TPM_RC_NV_AUTHORIZATION,
		    "deny: the NV index is the host's");
	return LY_TPM_RUN;
}

bool
ly_tpm_policy_answer(const struct ly_tpm_policy *policy, uint32_t code,
    const uint8_t *buf, size_t len, struct ly_tpm_say *say)
{
	struct ly_tpm_rsp rsp;

	if (policy->resets || code != LY_TPM_CC_STARTUP ||
	    ly_tpm_rsp_parse(buf, len, &rsp) != LY_OK ||
	    rsp.rc != LY_TPM_RC_INITIALIZE)
		return false;
	*say = (struct ly_tpm_say){ .len = LY_TPM_HEAD, .why = "" };
	ly_tpm_answer(LY_TPM_RC_SUCCESS, say->at);
	return true;
}

const char *
ly_tpm_policy_row(uint32_t code)
{
	enum class class = class_of(code);

	return class == NONE ? NULL : reasons[class];
}
