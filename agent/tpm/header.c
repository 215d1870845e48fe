/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/tpm/header.h"

#define VENDOR_BIT 0x20000000u /* part 2, 8.9: TPMA_CC.V */

/* Part 3, and part 2 table 12. In the order of the codes, with no gaps but
 * those the specification has. */
static const struct ly_tpm_code codes[] = {
	{ 0x11f, 2, "NV_UndefineSpaceSpecial" },
	{ 0x120, 2, "EvictControl" },
	{ 0x121, 1, "HierarchyControl" },
	{ 0x122, 2, "NV_UndefineSpace" },
	{ 0x124, 1, "ChangeEPS" },
	{ 0x125, 1, "ChangePPS" },
	{ 0x126, 1, "Clear" },
	{ 0x127, 1, "ClearControl" },
	{ 0x128, 1, "ClockSet" },
	{ 0x129, 1, "HierarchyChangeAuth" },
	{ 0x12a, 1, "NV_DefineSpace" },
	{ 0x12b, 1, "PCR_Allocate" },
	{ 0x12c, 1, "PCR_SetAuthPolicy" },
	{ 0x12d, 1, "PP_Commands" },
	{ 0x12e, 1, "SetPrimaryPolicy" },
	{ 0x12f, 2, "FieldUpgradeStart" },
	{ 0x130, 1, "ClockRateAdjust" },
	{ 0x131, 1, "CreatePrimary" },
	{ 0x132, 1, "NV_GlobalWriteLock" },
	{ 0x133, 2, "GetCommandAuditDigest" },
	{ 0x134, 2, "NV_Increment" },
	{ 0x135, 2, "NV_SetBits" },
	{ 0x136, 2, "NV_Extend" },
	{ 0x137, 2, "NV_Write" },
	{ 0x138, 2, "NV_WriteLock" },
	{ 0x139, 1, "DictionaryAttackLockReset" },
	{ 0x13a, 1, "DictionaryAttackParameters" },
	{ 0x13b, 1, "NV_ChangeAuth" },
	{ 0x13c, 1, "PCR_Event" },
	{ 0x13d, 1, "PCR_Reset" },
	{ 0x13e, 1, "SequenceComplete" },
	{ 0x13f, 1, "SetAlgorithmSet" },
	{ 0x140, 1, "SetCommandCodeAuditStatus" },
	{ 0x141, 0, "FieldUpgradeData" },
	{ 0x142, 0, "IncrementalSelfTest" },
	{ 0x143, 0, "SelfTest" },
	{ 0x144, 0, "Startup" },
	{ 0x145, 0, "Shutdown" },
	{ 0x146, 0, "StirRandom" },
	{ 0x147, 2, "ActivateCredential" },
	{ 0x148, 2, "Certify" },
	{ 0x149, 3, "PolicyNV" },
	{ 0x14a, 2, "CertifyCreation" },
	{ 0x14b, 2, "Duplicate" },
	{ 0x14c, 2, "GetTime" },
	{ 0x14d, 3, "GetSessionAuditDigest" },
	{ 0x14e, 2, "NV_Read" },
	{ 0x14f, 2, "NV_ReadLock" },
	{ 0x150, 2, "ObjectChangeAuth" },
	{ 0x151, 2, "PolicySecret" },
	{ 0x152, 2, "Rewrap" },
	{ 0x153, 1, "Create" },
	{ 0x154, 1, "ECDH_ZGen" },
	{ 0x155, 1, "HMAC" }, /* and MAC */
	{ 0x156, 1, "Import" },
	{ 0x157, 1, "Load" },
	{ 0x158, 1, "Quote" },
	{ 0x159, 1, "RSA_Decrypt" },
	{ 0x15b, 1, "HMAC_Start" }, /* and MAC_Start */
	{ 0x15c, 1, "SequenceUpdate" },
	{ 0x15d, 1, "Sign" },
	{ 0x15e, 1, "Unseal" },
	{ 0x160, 2, "PolicySigned" },
	{ 0x161, 0, "ContextLoad" },
	{ 0x162, 1, "ContextSave" },
	{ 0x163, 1, "ECDH_KeyGen" },
	{ 0x164, 1, "EncryptDecrypt" },
	{ 0x165, 0, "FlushContext" },
	{ 0x167, 0, "LoadExternal" },
	{ 0x168, 1, "MakeCredential" },
	{ 0x169, 1, "NV_ReadPublic" },
	{ 0x16a, 1, "PolicyAuthorize" },
	{ 0x16b, 1, "PolicyAuthValue" },
	{ 0x16c, 1, "PolicyCommandCode" },
	{ 0x16d, 1, "PolicyCounterTimer" },
	{ 0x16e, 1, "PolicyCpHash" },
	{ 0x16f, 1, "PolicyLocality" },
	{ 0x170, 1, "PolicyNameHash" },
	{ 0x171, 1, "PolicyOR" },
	{ 0x172, 1, "PolicyTicket" },
	{ 0x173, 1, "ReadPublic" },
	{ 0x174, 1, "RSA_Encrypt" },
	{ 0x176, 2, "StartAuthSession" },
	{ 0x177, 1, "VerifySignature" },
	{ 0x178, 0, "ECC_Parameters" },
	{ 0x179, 0, "FirmwareRead" },
	{ 0x17a, 0, "GetCapability" },
	{ 0x17b, 0, "GetRandom" },
	{ 0x17c, 0, "GetTestResult" },
	{ 0x17d, 0, "Hash" },
	{ 0x17e, 0, "PCR_Read" },
	{ 0x17f, 1, "PolicyPCR" },
	{ 0x180, 1, "PolicyRestart" },
	{ 0x181, 0, "ReadClock" },
	{ 0x182, 1, "PCR_Extend" },
	{ 0x183, 1, "PCR_SetAuthValue" },
	{ 0x184, 3, "NV_Certify" },
	{ 0x185, 2, "EventSequenceComplete" },
	{ 0x186, 0, "HashSequenceStart" },
	{ 0x187, 1, "PolicyPhysicalPresence" },
	{ 0x188, 1, "PolicyDuplicationSelect" },
	{ 0x189, 1, "PolicyGetDigest" },
	{ 0x18a, 0, "TestParms" },
	{ 0x18b, 1, "Commit" },
	{ 0x18c, 1, "PolicyPassword" },
	{ 0x18d, 1, "ZGen_2Phase" },
	{ 0x18e, 0, "EC_Ephemeral" },
	{ 0x18f, 1, "PolicyNvWritten" },
	{ 0x190, 1, "PolicyTemplate" },
	{ 0x191, 1, "CreateLoaded" },
	{ 0x192, 3, "PolicyAuthorizeNV" },
	{ 0x193, 1, "EncryptDecrypt2" },
	{ 0x194, 1, "AC_GetCapability" },
	{ 0x195, 3, "AC_Send" },
	{ 0x196, 1, "Policy_AC_SendSelect" },
	{ 0x197, 2, "CertifyX509" },
	{ 0x198, 1, "ACT_SetTimeout" },
	{ 0x199, 1, "ECC_Encrypt" },
	{ 0x19a, 1, "ECC_Decrypt" },
	{ 0x19b, 1, "PolicyCapability" },
	{ 0x19c, 1, "PolicyParameters" },
	{ 0x19d, 1, "NV_DefineSpace2" },
	{ 0x19e, 1, "NV_ReadPublic2" },
	{ 0x19f, 1, "SetCapability" },
	{ 0x1a0, 1, "ReadOnlyControl" },
};

enum ly_rc
ly_tpm_size(const uint8_t *buf, size_t len, size_t most, size_t *size)
{
	struct ly_rd r = ly_rd_over(buf, len);
	uint32_t said;

	(void)ly_rd_u16(&r);
	said = ly_rd_u32(&r);
	if (r.bad)
		return LY_SHORT;
	if (said < LY_TPM_HEAD || said > most)
		return LY_MALFORMED;
	*size = said;
	return LY_OK;
}

/* Tag, size and the third word; and whether the size tells the truth. */
static enum ly_rc
parse(const uint8_t *buf, size_t len, struct ly_tpm_cmd *out)
{
	struct ly_rd r = ly_rd_over(buf, len);
	size_t size = 0;
	enum ly_rc rc = ly_tpm_size(buf, len, LY_TPM_MAX, &size);

	if (rc != LY_OK)
		return rc;
	if (size < len)
		return LY_MALFORMED;
	if (size > len)
		return LY_SHORT;
	out->tag = ly_rd_u16(&r);
	(void)ly_rd_u32(&r);
	out->code = ly_rd_u32(&r);
	out->body = r.at;
	out->body_len = ly_rd_left(&r);
	return LY_OK;
}

enum ly_rc
ly_tpm_cmd_parse(const uint8_t *buf, size_t len, struct ly_tpm_cmd *out)
{
	struct ly_tpm_cmd got;
	enum ly_rc rc = parse(buf, len, &got);

	if (rc != LY_OK)
		return rc;
	if (got.tag != LY_TPM_ST_NO_SESSIONS && got.tag != LY_TPM_ST_SESSIONS)
		return LY_MALFORMED;
	*out = got;
	return LY_OK;
}

enum ly_rc
ly_tpm_rsp_parse(const uint8_t *buf, size_t len, struct ly_tpm_rsp *out)
{
	struct ly_tpm_cmd got;
	enum ly_rc rc = parse(buf, len, &got);

	if (rc != LY_OK)
		return rc;
	if (got.tag != LY_TPM_ST_NO_SESSIONS && got.tag != LY_TPM_ST_SESSIONS &&
	    got.tag != LY_TPM_ST_RSP_COMMAND)
		return LY_MALFORMED;
	*out = (struct ly_tpm_rsp){ .tag = got.tag,
		.rc = got.code,
		.body = got.body,
		.body_len = got.body_len };
	return LY_OK;
}

/* Part 3, 5.2: the tag is looked at before the size. */
uint32_t
ly_tpm_fault(const uint8_t *buf, size_t len)
{
	struct ly_rd r = ly_rd_over(buf, len);
	uint16_t tag = ly_rd_u16(&r);

	if (!r.bad && tag != LY_TPM_ST_NO_SESSIONS && tag != LY_TPM_ST_SESSIONS)
		return LY_TPM_RC_BAD_TAG;
	return LY_TPM_RC_COMMAND_SIZE;
}

/* Part 3, 5.3: BAD_TAG, which a TPM 1.2 driver may be reading, goes out under
 * TPM 1.2's tag. */
void
ly_tpm_answer(uint32_t rc, uint8_t out[LY_TPM_HEAD])
{
	struct ly_wr w = ly_wr_over(out, LY_TPM_HEAD);

	ly_wr_u16(&w,
	    rc == LY_TPM_RC_BAD_TAG ? LY_TPM_ST_RSP_COMMAND :
				      LY_TPM_ST_NO_SESSIONS);
	ly_wr_u32(&w, LY_TPM_HEAD);
	ly_wr_u32(&w, rc);
	assert(!w.bad);
}

const struct ly_tpm_code *
ly_tpm_code_of(uint32_t code)
{
	size_t low = 0, high = LY_COUNT(codes);

	while (low < high) {
		size_t mid = (low + high) / 2;

		if (codes[mid].code == code)
			return &codes[mid];
		if (codes[mid].code < code)
			low = mid + 1;
		else
			high = mid;
	}
	return NULL;
}

const char *
ly_tpm_code_name(uint32_t code)
{
	const struct ly_tpm_code *row = ly_tpm_code_of(code);

	if (row)
		return row->name;
	return code & VENDOR_BIT ? "a vendor command" : "an unknown command";
}
