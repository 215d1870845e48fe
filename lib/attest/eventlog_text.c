/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An event in words. What stands in an event's data depends on its type and is
 * there for people alone; a host that lies about it changes a text, no verdict.
 */
#include "lib/attest/eventlog.h"

enum data_kind {
	DATA_NONE,
	DATA_TEXT,     /* ASCII or UTF-16, as its writer liked */
	DATA_BLOB,     /* u8 length, ASCII; then where it is */
	DATA_VARIABLE, /* UEFI_VARIABLE_DATA */
	DATA_IMAGE,    /* UEFI_IMAGE_LOAD_EVENT */
	DATA_TAGGED,   /* u32 id, u32 length, text */
};

struct type_row {
	uint32_t type;
	const char *name;
	enum data_kind data;
};

// clang-format off
static const struct type_row types[] = {
	{ 0x00000000, "EV_PREBOOT_CERT", DATA_NONE },
	{ 0x00000001, "EV_POST_CODE", DATA_TEXT },
	{ 0x00000002, "EV_UNUSED", DATA_NONE },
	{ 0x00000003, "EV_NO_ACTION", DATA_NONE },
	{ 0x00000004, "EV_SEPARATOR", DATA_NONE },
	{ 0x00000005, "EV_ACTION", DATA_TEXT },
	{ 0x00000006, "EV_EVENT_TAG", DATA_TAGGED },
	{ 0x00000007, "EV_S_CRTM_CONTENTS", DATA_TEXT },
	{ 0x00000008, "EV_S_CRTM_VERSION", DATA_TEXT },
	{ 0x00000009, "EV_CPU_MICROCODE", DATA_NONE },
	{ 0x0000000a, "EV_PLATFORM_CONFIG_FLAGS", DATA_NONE },
	{ 0x0000000b, "EV_TABLE_OF_DEVICES", DATA_NONE },
	{ 0x0000000c, "EV_COMPACT_HASH", DATA_NONE },
	{ 0x0000000d, "EV_IPL", DATA_TEXT },
	{ 0x0000000e, "EV_IPL_PARTITION_DATA", DATA_NONE },
	{ 0x0000000f, "EV_NONHOST_CODE", DATA_NONE },
	{ 0x00000010, "EV_NONHOST_CONFIG", DATA_NONE },
	{ 0x00000011, "EV_NONHOST_INFO", DATA_NONE },
	{ 0x00000012, "EV_OMIT_BOOT_DEVICE_EVENTS", DATA_TEXT },
	{ 0x80000001, "EV_EFI_VARIABLE_DRIVER_CONFIG", DATA_VARIABLE },
	{ 0x80000002, "EV_EFI_VARIABLE_BOOT", DATA_VARIABLE },
	{ 0x80000003, "EV_EFI_BOOT_SERVICES_APPLICATION", DATA_IMAGE },
	{ 0x80000004, "EV_EFI_BOOT_SERVICES_DRIVER", DATA_IMAGE },
	{ 0x80000005, "EV_EFI_RUNTIME_SERVICES_DRIVER", DATA_IMAGE },
	{ 0x80000006, "EV_EFI_GPT_EVENT", DATA_NONE },
	{ 0x80000007, "EV_EFI_ACTION", DATA_TEXT },
	{ 0x80000008, "EV_EFI_PLATFORM_FIRMWARE_BLOB", DATA_NONE },
	{ 0x80000009, "EV_EFI_HANDOFF_TABLES", DATA_NONE },
	{ 0x8000000a, "EV_EFI_PLATFORM_FIRMWARE_BLOB2", DATA_BLOB },
	{ 0x8000000b, "EV_EFI_HANDOFF_TABLES2", DATA_BLOB },
	{ 0x8000000c, "EV_EFI_VARIABLE_BOOT2", DATA_VARIABLE },
	{ 0x80000010, "EV_EFI_HCRTM_EVENT", DATA_TEXT },
	{ 0x800000e0, "EV_EFI_VARIABLE_AUTHORITY", DATA_VARIABLE },
	{ 0x800000e1, "EV_EFI_SPDM_FIRMWARE_BLOB", DATA_NONE },
	{ 0x800000e2, "EV_EFI_SPDM_FIRMWARE_CONFIG", DATA_NONE },
};
// clang-format on

#define WORDS 80 /* of what is told of an event's data, with its NUL */
#define NODE_MEDIA 4
#define NODE_FILE_PATH 4
#define NODE_END 0x7f

static const struct type_row *
row_of(uint32_t type)
{
	for (size_t i = 0; i < LY_COUNT(types); i++)
		if (types[i].type == type)
			return &types[i];
	return NULL;
}

const char *
ly_eventlog_type(uint32_t type)
{
	const struct type_row *row = row_of(type);

	return row ? row->name : NULL;
}

static uint64_t
le(struct ly_rd *r, size_t size)
{
	const uint8_t *at = ly_rd_bytes(r, size);
	uint64_t v = 0;

	for (size_t i = size; at && i > 0; i--)
		v = v << 8 | at[i - 1];
	return v;
}

/* Appends up to a NUL, every `step`th byte; what is not plain is a '?'. */
static void
append(char out[WORDS], struct ly_bytes text, size_t step)
{
	size_t n = strlen(out);

	for (size_t i = 0; i + step <= text.len && n + 1 < WORDS; i += step) {
		uint8_t c = text.at[i];
		bool wide = step == 2 && text.at[i + 1] != 0;

		if (c == 0 && !wide)
			break;
		out[n++] = (char)(wide || c < 0x20 || c > 0x7e ? '?' : c);
	}
	out[n] = '\0';
}

static void
say_text(char out[WORDS], struct ly_bytes data)
{
	append(out, data, data.len >= 2 && data.at[1] == 0 ? 2 : 1);
}

static void
say_blob(char out[WORDS], struct ly_bytes data)
{
	struct ly_rd r = ly_rd_over(data.at, data.len);
	size_t len = ly_rd_u8(&r);
	const uint8_t *at = ly_rd_bytes(&r, len);

	if (at)
		append(out, (struct ly_bytes){ at, len }, 1);
}

static void
say_variable(char out[WORDS], struct ly_bytes data)
{
	struct ly_rd r = ly_rd_over(data.at, data.len);
	uint64_t chars;
	const uint8_t *at;

	ly_rd_bytes(&r, 16); /* its vendor's GUID */
	chars = le(&r, 8);
	le(&r, 8); /* bytes of its value */
	if (chars > WORDS)
		chars = WORDS;
	at = ly_rd_bytes(&r, 2 * (size_t)chars);
	if (at)
		append(out, (struct ly_bytes){ at, 2 * (size_t)chars }, 2);
}

/* The file names of a device path, as a firmware's shell would write them. */
static void
say_image(char out[WORDS], struct ly_bytes data)
{
	struct ly_rd r = ly_rd_over(data.at, data.len);

	ly_rd_bytes(&r, 32); /* address, length, link address, path's length */
	while (!r.bad && ly_rd_left(&r) >= 4) {
		uint8_t type = ly_rd_u8(&r), sub = ly_rd_u8(&r);
		size_t len = (size_t)le(&r, 2);
		const uint8_t *at;

		if (type == NODE_END || len < 4)
			return;
		at = ly_rd_bytes(&r, len - 4);
		if (at && type == NODE_MEDIA && sub == NODE_FILE_PATH)
			append(out, (struct ly_bytes){ at, len - 4 }, 2);
	}
}

static void
say_tagged(char out[WORDS], struct ly_bytes data)
{
	struct ly_rd r = ly_rd_over(data.at, data.len);
	size_t len;
	const uint8_t *at;

	ly_rd_bytes(&r, 4);
	len = (size_t)le(&r, 4);
	at = ly_rd_bytes(&r, len);
	if (at)
		say_text(out, (struct ly_bytes){ at, len });
}

static void (*const say[])(char out[WORDS], struct ly_bytes data) = {
	[DATA_NONE] = NULL,
	[DATA_TEXT] = say_text,
	[DATA_BLOB] = say_blob,
	[DATA_VARIABLE] = say_variable,
	[DATA_IMAGE] = say_image,
	[DATA_TAGGED] = say_tagged,
};

void
ly_eventlog_print(const struct ly_logged *ev, char *out, size_t size)
{
	const struct type_row *row = row_of(ev->type);
	char words[WORDS] = "";

	if (!row) {
		ly_print(out, size, "event %u (type 0x%08x)", ev->number,
		    ev->type);
		return;
	}
	if (say[row->data])
		say[row->data](words, ev->data);
	ly_print(out, size, "event %u (%s%s%s)", ev->number, row->name,
	    words[0] ? ", " : "", words);
}
