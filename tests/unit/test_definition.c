/* SPDX-License-Identifier: Apache-2.0 */
#include "agent/io/definition.h"
#include "tests/test.h"

static struct ly_definition def;
static struct ly_why why;

static enum ly_rc
check(const char *json)
{
	why.text[0] = '\0';
	return ly_definition_check(json, strlen(json), &def, &why);
}

/* Refused with a text that has `part`. */
#define WANT_REFUSED(json, part)                                               \
	do {                                                                   \
		WANT(check(json) != LY_OK);                                    \
		if (!strstr(why.text, part))                                   \
			test_fail(__FILE__, __LINE__, "\"%s\" in \"%s\"",      \
			    part, why.text);                                   \
	} while (0)

TEST(memory_is_enough_for_a_definition)
{
	WANT_INT(check("{\"memory_mb\":512}"), LY_OK);
	WANT_INT(def.memory_mb, 512);
	WANT_INT(def.cpus, 1);
	WANT_STR(def.machine, "q35");
	WANT_STR(def.accel, "auto");
	WANT_STR(def.tpm_model, "tpm-crb");
	WANT(def.serial);
	WANT(!def.external);
}

TEST(every_key_is_understood)
{
	WANT_INT(
	    check(
		"{\"memory_mb\":2048,\"cpus\":4,"
		"\"machine\":\"pc-q35-7.2\",\"accel\":\"tcg\","
		"\"cpu\":\"qemu64,+aes\",\"kernel\":\"/k\",\"initrd\":\"/i\","
		"\"append\":\"console=ttyS0 a=1,2\",\"firmware\":\"/f\","
		"\"disks\":[{\"path\":\"/d\",\"format\":\"qcow2\","
		"\"readonly\":true}],"
		"\"nics\":[{\"bridge\":\"br0\",\"mac\":\"52:54:00:aB:00:01\"},"
		"{\"tap\":\"tap0\"}],"
		"\"serial\":false,\"tpm_model\":\"tpm-tis\",\"external\":true}"),
	    LY_OK);
	WANT_INT(def.cpus, 4);
	WANT_STR(def.append, "console=ttyS0 a=1,2");
	WANT_INT(def.disks_n, 1);
	WANT_STR(def.disks[0].format, "qcow2");
	WANT(def.disks[0].readonly);
	WANT_INT(def.nics_n, 2);
	WANT_STR(def.nics[1].tap, "tap0");
	WANT(!def.serial);
	WANT(def.external);
}

TEST(what_is_wrong_is_refused_by_name)
{
	WANT_REFUSED("", "definition");
	WANT_REFUSED("[]", "expected a JSON object");
	WANT_REFUSED("{\"memory_mb\":512,}", "line 1");
	WANT_REFUSED("{\"memory_mb\"\033[2J 512}", "near '?'");
	WANT_REFUSED("{}", "memory_mb: is missing");
	WANT_REFUSED("{\"memory_mb\":1,\"memory_mb\":2}", "duplicate");
	WANT_REFUSED("{\"memory_mb\":512,\"colour\":1}",
	    "colour: there is no such key");
	WANT_REFUSED("{\"memory_mb\":512,\"\\u001b[2J\":1}",
	    "?: there is no such key");
	WANT_REFUSED("{\"memory_mb\":\"512\"}", "memory_mb: expected a number");
	WANT_REFUSED("{\"memory_mb\":7}", "from 8 to");
	WANT_REFUSED("{\"memory_mb\":99999999999999}", "memory_mb");
	WANT_REFUSED("{\"memory_mb\":512,\"cpus\":0}", "cpus");
	WANT_REFUSED("{\"memory_mb\":512,\"accel\":\"xen\"}",
	    "accel: \"xen\" is not one of auto kvm tcg");
	WANT_REFUSED("{\"memory_mb\":512,\"tpm_model\":\"tpm\"}", "tpm_model");
	WANT_REFUSED("{\"memory_mb\":512,\"machine\":\"q35,x=y\"}", "machine");
	WANT_REFUSED("{\"memory_mb\":512,\"machine\":\"\"}", "machine");
	WANT_REFUSED("{\"memory_mb\":512,\"kernel\":\"k\"}",
	    "kernel: expected an absolute path");
	WANT_REFUSED("{\"memory_mb\":512,\"kernel\":\"/a\\u000ab\"}",
	    "kernel: has a control character");
	WANT_REFUSED("{\"memory_mb\":512,\"append\":\"x\"}",
	    "append: there is no kernel");
	WANT_REFUSED("{\"memory_mb\":512,\"serial\":\"yes\"}",
	    "serial: expected true or false");
}

TEST(what_is_wrong_in_a_list_is_refused_with_its_place)
{
	WANT_REFUSED("{\"memory_mb\":512,\"disks\":{}}",
	    "disks: expected a list");
	WANT_REFUSED("{\"memory_mb\":512,\"disks\":[{}]}",
	    "disks[0]: path: is missing");
	WANT_REFUSED("{\"memory_mb\":512,\"disks\":[{\"path\":\"/a\"},"
		     "{\"path\":\"/b\",\"format\":\"vmdk\"}]}",
	    "disks[1]: format");
	WANT_REFUSED("{\"memory_mb\":512,\"disks\":[{\"path\":\"/a\","
		     "\"cache\":\"none\"}]}",
	    "disks[0]: cache: there is no such key");
	WANT_REFUSED("{\"memory_mb\":512,\"nics\":[{}]}",
	    "nics[0]: needs bridge or tap");
	WANT_REFUSED("{\"memory_mb\":512,\"nics\":[{\"bridge\":\"b\","
		     "\"tap\":\"t\"}]}",
	    "nics[0]: needs bridge or tap");
	WANT_REFUSED("{\"memory_mb\":512,\"nics\":[{\"tap\":\"t,script=/x\"}]}",
	    "nics[0]: tap");
	WANT_REFUSED("{\"memory_mb\":512,\"nics\":[{\"tap\":"
		     "\"sixteen_letters_\"}]}",
	    "longer than 15");
	WANT_REFUSED("{\"memory_mb\":512,\"nics\":[{\"tap\":\"t\","
		     "\"mac\":\"53:54:00:00:00:01\"}]}",
	    "not a station's address");
	WANT_REFUSED("{\"memory_mb\":512,\"nics\":[{\"tap\":\"t\","
		     "\"mac\":\"52:54:00:00:00:0g\"}]}",
	    "mac");
}

TEST(limits_hold)
{
	static char json[LY_DEFINITION_MAX + 64];
	char *at = json;

	at += sprintf(at, "{\"memory_mb\":512,\"disks\":[");
	for (int i = 0; i < LY_DISKS_MAX + 1; i++)
		at += sprintf(at, "%s{\"path\":\"/d\"}", i ? "," : "");
	sprintf(at, "]}");
	WANT_INT(check(json), LY_FULL);
	WANT(strstr(why.text, "disks: more than 8"));

	memset(json, ' ', sizeof(json) - 1);
	WANT_INT(check(json), LY_FULL);
	memset(json + 1, 'a', 400);
	memcpy(json, "{\"memory_mb\":512,\"kernel\":\"/", 28);
	memcpy(json + 400, "\"}", 3);
	WANT_INT(check(json), LY_FULL);
	WANT(strstr(why.text, "kernel: longer than 255 bytes"));
}

/* ---- arguments ---- */

static char **args;

static void
make(const char *json, struct ly_definition_params p)
{
	WANT_INT(check(json), LY_OK);
	if (!p.binary)
		p.binary = "qemu";
	if (!p.dir)
		p.dir = "/run/vm";
	p.name = "web1";
	p.id.b[0] = 1;
	WANT_INT(ly_definition_argv(&def, &p, &args, &why), LY_OK);
}

/* The argument after `option`, the `nth` time it comes; NULL if it does not. */
static const char *
value(const char *option, unsigned nth)
{
	for (char **at = args; *at; at++)
		if (strcmp(*at, option) == 0 && nth-- == 0)
			return at[1] ? at[1] : "";
	return NULL;
}

static bool
has(const char *arg)
{
	for (char **at = args; *at; at++)
		if (strcmp(*at, arg) == 0)
			return true;
	return false;
}

TEST(a_small_vm_has_no_device_it_did_not_ask_for)
{
	make("{\"memory_mb\":512,\"accel\":\"tcg\"}",
	    (struct ly_definition_params){ .sandbox = true });
	WANT_STR(args[0], "qemu");
	WANT(has("-nodefaults"));
	WANT(has("-no-user-config"));
	WANT_STR(value("-display", 0), "none");
	WANT_STR(value("-machine", 0), "type=q35,accel=tcg");
	WANT_STR(value("-uuid", 0), "01000000-0000-0000-0000-000000000000");
	WANT_STR(value("-chardev", 0),
	    "socket,id=qmp,path=/run/vm/qmp.sock,server=on,wait=off");
	WANT_STR(value("-chardev", 1),
	    "socket,id=serial,"
	    "path=/run/vm/serial.sock,server=on,wait=off,"
	    "logfile=/run/vm/serial.log,logappend=on");
	WANT(strstr(value("-sandbox", 0), "spawn=deny"));
	WANT(!value("-device", 0));
	WANT(!value("-cpu", 0));
	WANT(!has("-incoming"));
	WANT(!has("-S"));
	ly_argv_free(args);
}

TEST(a_destination_waits_and_stands_still)
{
	make("{\"memory_mb\":512}",
	    (struct ly_definition_params){ .incoming = true });
	WANT_STR(value("-incoming", 0), "defer");
	WANT(has("-S"));
	WANT(!has("-sandbox"));
	ly_argv_free(args);
}

/* But for where it waits, or the two would not be one machine. */
TEST(both_ends_of_a_migration_get_the_same_arguments)
{
	const char *json = "{\"memory_mb\":512,\"cpus\":2,\"accel\":\"tcg\"}";
	char **first;
	size_t n = 0;

	make(json, (struct ly_definition_params){ .dir = "/a" });
	first = args;
	make(json,
	    (struct ly_definition_params){ .dir = "/a", .incoming = true });
	for (; first[n]; n++)
		WANT_STR(args[n], first[n]);
	WANT_STR(args[n], "-incoming");
	ly_argv_free(first);
	ly_argv_free(args);
}

TEST(commas_in_paths_do_not_become_options)
{
	make("{\"memory_mb\":512,\"kernel\":\"/a,b\",\"disks\":"
	     "[{\"path\":\"/x,readonly=off \\\"q\\\"\",\"readonly\":true}]}",
	    (struct ly_definition_params){ .dir = "/run/a,b",
		.tpm_socket = "/t,p" });
	WANT_STR(value("-chardev", 0),
	    "socket,id=qmp,path=/run/a,,b/qmp.sock,server=on,wait=off");
	WANT_STR(value("-chardev", 2), "socket,id=tpm,path=/t,,p");
	WANT_STR(value("-kernel", 0), "/a,b"); /* not a list of options */
	WANT_STR(value("-blockdev", 0),
	    "{\"driver\":\"raw\","
	    "\"node-name\":\"disk0\",\"read-only\":true,\"file\":"
	    "{\"driver\":\"file\",\"filename\":"
	    "\"/x,readonly=off \\\"q\\\"\",\"read-only\":true}}");
	ly_argv_free(args);
}

TEST(a_tpm_is_an_emulator_on_the_agents_socket)
{
	make("{\"memory_mb\":512,\"tpm_model\":\"tpm-tis\",\"serial\":false}",
	    (struct ly_definition_params){ .tpm_socket = "/t" });
	WANT_STR(value("-tpmdev", 0), "emulator,id=tpm0,chardev=tpm");
	WANT_STR(value("-device", 0), "tpm-tis,tpmdev=tpm0");
	WANT(!value("-serial", 0));
	ly_argv_free(args);
}

TEST(nics_run_no_script_and_a_bridge_may_use_its_helper)
{
	make("{\"memory_mb\":512,\"nics\":[{\"tap\":\"tap0\",\"mac\":"
	     "\"52:54:00:00:00:01\"}]}",
	    (struct ly_definition_params){ .sandbox = true });
	WANT_STR(value("-netdev", 0),
	    "tap,id=net0,ifname=tap0,script=no,downscript=no");
	WANT_STR(value("-device", 0),
	    "virtio-net-pci,netdev=net0,id=n0,mac=52:54:00:00:00:01");
	WANT(strstr(value("-sandbox", 0), "spawn=deny"));
	ly_argv_free(args);
	make("{\"memory_mb\":512,\"nics\":[{\"bridge\":\"br0\"}]}",
	    (struct ly_definition_params){ .sandbox = true });
	WANT_STR(value("-netdev", 0), "bridge,id=net0,br=br0");
	WANT(!strstr(value("-sandbox", 0), "spawn=deny"));
	ly_argv_free(args);
}

TEST(a_vm_run_by_somebody_else_has_no_arguments)
{
	struct ly_definition_params p = { .binary = "qemu",
		.dir = "/d",
		.name = "web1" };

	WANT_INT(check("{\"memory_mb\":512,\"external\":true}"), LY_OK);
	WANT_INT(ly_definition_argv(&def, &p, &args, &why), LY_REFUSED);
}

TEST(the_largest_vm_fits)
{
	static char json[LY_DEFINITION_MAX];
	char *at = json;
	size_t n = 0;

	at += sprintf(at,
	    "{\"memory_mb\":512,\"cpu\":\"max\",\"kernel\":"
	    "\"/k\",\"initrd\":\"/i\",\"append\":\"a\",\"firmware\":\"/f\","
	    "\"disks\":[");
	for (int i = 0; i < LY_DISKS_MAX; i++)
		at += sprintf(at, "%s{\"path\":\"/d%d\"}", i ? "," : "", i);
	at += sprintf(at, "],\"nics\":[");
	for (int i = 0; i < LY_NICS_MAX; i++)
		at += sprintf(at, "%s{\"tap\":\"t%d\"}", i ? "," : "", i);
	sprintf(at, "]}");
	make(json,
	    (struct ly_definition_params){ .tpm_socket = "/t",
		.incoming = true,
		.sandbox = true });
	while (args[n])
		n++;
	WANT(n > 64);
	WANT(value("-device", LY_DISKS_MAX + LY_NICS_MAX));
	ly_argv_free(args);
}

TEST_MAIN()
