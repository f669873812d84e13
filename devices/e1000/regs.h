/* SPDX-License-Identifier: MIT */
/* Every register of the 82540EM, one row each, and the bits the code names.
 *
 * "SDM" is Intel's PCI/PCI-X Family of Gigabit Ethernet Controllers Software
 * Developer's Manual, 317453-006. Names and bits are spelt as there. */
#ifndef E1000_REGS_H
#define E1000_REGS_H

/* REG(name, offset, count, stride, reset, wmask, lock, read, write)
 *   count, stride  an array of registers: count of them, stride bytes apart
 *   wmask          the bits a write changes; all others keep their value
 *   lock           cold: writes take the device's lock. hot: they do not,
 *                  everything about the register is atomic
 *   read           plain: gives the stored value, without a lock
 *   write          plain: stores; anything else is e1000_wr_NAME
 * ALIAS(offset, count, to)  the 82542's place for the register at `to`
 *
 * Offsets in no row read 0 and ignore writes. */
#define E1000_REGS(REG, ALIAS)                                                 \
    /* general, SDM 13.4.1-13.4.16 */                                          \
    REG(CTRL, 0x00000, 1, 4, 0x00000a49, 0xdffc1be9, cold, plain, ctrl)        \
    REG(STATUS, 0x00008, 1, 4, 0x00000080, 0, hot, plain, none)                \
    REG(EECD, 0x00010, 1, 4, 0x00000100, 0x00000077, cold, plain, eecd)        \
    REG(EERD, 0x00014, 1, 4, 0, 0x0000ff01, cold, plain, eerd)                 \
    REG(CTRL_EXT, 0x00018, 1, 4, 0, 0x00ffeff0, cold, plain, ctrl_ext)         \
    REG(MDIC, 0x00020, 1, 4, 0x10000000, 0x2fffffff, cold, plain, mdic)        \
    REG(FCAL, 0x00028, 1, 4, 0x00c28001, 0xffffffff, cold, plain, plain)       \
    REG(FCAH, 0x0002c, 1, 4, 0x00000100, 0x0000ffff, cold, plain, plain)       \
    REG(FCT, 0x00030, 1, 4, 0x00008808, 0x0000ffff, cold, plain, plain)        \
    REG(VET, 0x00038, 1, 4, 0x00008100, 0x0000ffff, cold, plain, plain)        \
    /* interrupts, SDM 13.4.17-13.4.21 */                                      \
    REG(ICR, 0x000c0, 1, 4, 0, 0x0001ffff, hot, icr, icr)                      \
    REG(ITR, 0x000c4, 1, 4, 0, 0x0000ffff, hot, plain, itr)                    \
    REG(ICS, 0x000c8, 1, 4, 0, 0x0001ffff, hot, ics, ics)                      \
    REG(IMS, 0x000d0, 1, 4, 0, 0x0001ffff, hot, plain, ims)                    \
    REG(IMC, 0x000d8, 1, 4, 0, 0x0001ffff, hot, zero, imc)                     \
    /* receive and transmit control, SDM 13.4.22-13.4.24, 13.4.33-13.4.36 */   \
    REG(RCTL, 0x00100, 1, 4, 0, 0x06dfb3fe, cold, plain, rctl)                 \
    REG(FCTTV, 0x00170, 1, 4, 0, 0x0000ffff, cold, plain, plain)               \
    REG(TXCW, 0x00178, 1, 4, 0, 0xc000ffff, cold, plain, plain)                \
    REG(RXCW, 0x00180, 1, 4, 0, 0, cold, plain, none)                          \
    REG(TCTL, 0x00400, 1, 4, 0, 0x037ffffa, cold, plain, tctl)                 \
    REG(TIPG, 0x00410, 1, 4, 0, 0x3fffffff, cold, plain, plain)                \
    REG(AIFS, 0x00458, 1, 4, 0, 0x0000ffff, cold, plain, plain)                \
    REG(LEDCTL, 0x00e00, 1, 4, 0x07068302, 0xcfcfcfcf, cold, plain, plain)     \
    REG(PBA, 0x01000, 1, 4, 0x00100030, 0x0000007f, cold, plain, pba)          \
    /* receive, SDM 13.4.25-13.4.32, 13.4.37, 13.8 */                          \
    REG(FCRTL, 0x02160, 1, 4, 0, 0x8000fff8, cold, plain, plain)               \
    REG(FCRTH, 0x02168, 1, 4, 0, 0x0000fff8, cold, plain, plain)               \
    REG(RDFH, 0x02410, 1, 4, 0, 0x00001fff, cold, plain, plain)                \
    REG(RDFT, 0x02418, 1, 4, 0, 0x00001fff, cold, plain, plain)                \
    REG(RDFHS, 0x02420, 1, 4, 0, 0x00001fff, cold, plain, plain)               \
    REG(RDFTS, 0x02428, 1, 4, 0, 0x00001fff, cold, plain, plain)               \
    REG(RDFPC, 0x02430, 1, 4, 0, 0x00001fff, cold, plain, plain)               \
    REG(RDBAL, 0x02800, 1, 4, 0, 0xfffffff0, cold, plain, plain)               \
    REG(RDBAH, 0x02804, 1, 4, 0, 0xffffffff, cold, plain, plain)               \
    REG(RDLEN, 0x02808, 1, 4, 0, 0x000fff80, cold, plain, plain)               \
    REG(RDH, 0x02810, 1, 4, 0, 0x0000ffff, cold, plain, plain)                 \
    REG(RDT, 0x02818, 1, 4, 0, 0x0000ffff, hot, plain, rdt)                    \
    REG(RDTR, 0x02820, 1, 4, 0, 0x8000ffff, cold, plain, rdtr)                 \
    REG(RXDCTL, 0x02828, 1, 4, 0x01010000, 0x033f3f3f, cold, plain, plain)     \
    REG(RADV, 0x0282c, 1, 4, 0, 0x0000ffff, cold, plain, plain)                \
    REG(RSRPD, 0x02c00, 1, 4, 0, 0x00000fff, cold, plain, plain)               \
    /* transmit, SDM 13.4.38-13.4.48 */                                        \
    REG(TXDMAC, 0x03000, 1, 4, 1, 0x00000001, cold, plain, plain)              \
    REG(TDFH, 0x03410, 1, 4, 0, 0x00001fff, cold, plain, plain)                \
    REG(TDFT, 0x03418, 1, 4, 0, 0x00001fff, cold, plain, plain)                \
    REG(TDFHS, 0x03420, 1, 4, 0, 0x00001fff, cold, plain, plain)               \
    REG(TDFTS, 0x03428, 1, 4, 0, 0x00001fff, cold, plain, plain)               \
    REG(TDFPC, 0x03430, 1, 4, 0, 0x00001fff, cold, plain, plain)               \
    REG(TDBAL, 0x03800, 1, 4, 0, 0xfffffff0, cold, plain, plain)               \
    REG(TDBAH, 0x03804, 1, 4, 0, 0xffffffff, cold, plain, plain)               \
    REG(TDLEN, 0x03808, 1, 4, 0, 0x000fff80, cold, plain, plain)               \
    REG(TDH, 0x03810, 1, 4, 0, 0x0000ffff, cold, plain, tdh)                   \
    REG(TDT, 0x03818, 1, 4, 0, 0x0000ffff, hot, plain, tdt)                    \
    REG(TIDV, 0x03820, 1, 4, 0, 0x0000ffff, cold, plain, plain)                \
    REG(TXDCTL, 0x03828, 1, 4, 0, 0xff3f3f3f, cold, plain, plain)              \
    REG(TADV, 0x0382c, 1, 4, 0, 0x0000ffff, cold, plain, plain)                \
    REG(TSPMT, 0x03830, 1, 4, 0x01000400, 0xffffffff, cold, plain, plain)      \
    /* statistics, SDM 13.7: reading clears */                                 \
    REG(CRCERRS, 0x04000, 1, 4, 0, 0, hot, stat, none)                         \
    REG(ALGNERRC, 0x04004, 1, 4, 0, 0, hot, stat, none)                        \
    REG(SYMERRS, 0x04008, 1, 4, 0, 0, hot, stat, none)                         \
    REG(RXERRC, 0x0400c, 1, 4, 0, 0, hot, stat, none)                          \
    REG(MPC, 0x04010, 1, 4, 0, 0, hot, stat, none)                             \
    REG(SCC, 0x04014, 1, 4, 0, 0, hot, stat, none)                             \
    REG(ECOL, 0x04018, 1, 4, 0, 0, hot, stat, none)                            \
    REG(MCC, 0x0401c, 1, 4, 0, 0, hot, stat, none)                             \
    REG(LATECOL, 0x04020, 1, 4, 0, 0, hot, stat, none)                         \
    REG(COLC, 0x04028, 1, 4, 0, 0, hot, stat, none)                            \
    REG(DC, 0x04030, 1, 4, 0, 0, hot, stat, none)                              \
    REG(TNCRS, 0x04034, 1, 4, 0, 0, hot, stat, none)                           \
    REG(SEC, 0x04038, 1, 4, 0, 0, hot, stat, none)                             \
    REG(CEXTERR, 0x0403c, 1, 4, 0, 0, hot, stat, none)                         \
    REG(RLEC, 0x04040, 1, 4, 0, 0, hot, stat, none)                            \
    REG(XONRXC, 0x04048, 1, 4, 0, 0, hot, stat, none)                          \
    REG(XONTXC, 0x0404c, 1, 4, 0, 0, hot, stat, none)                          \
    REG(XOFFRXC, 0x04050, 1, 4, 0, 0, hot, stat, none)                         \
    REG(XOFFTXC, 0x04054, 1, 4, 0, 0, hot, stat, none)                         \
    REG(FCRUC, 0x04058, 1, 4, 0, 0, hot, stat, none)                           \
    REG(PRC64, 0x0405c, 1, 4, 0, 0, hot, stat, none)                           \
    REG(PRC127, 0x04060, 1, 4, 0, 0, hot, stat, none)                          \
    REG(PRC255, 0x04064, 1, 4, 0, 0, hot, stat, none)                          \
    REG(PRC511, 0x04068, 1, 4, 0, 0, hot, stat, none)                          \
    REG(PRC1023, 0x0406c, 1, 4, 0, 0, hot, stat, none)                         \
    REG(PRC1522, 0x04070, 1, 4, 0, 0, hot, stat, none)                         \
    REG(GPRC, 0x04074, 1, 4, 0, 0, hot, stat, none)                            \
    REG(BPRC, 0x04078, 1, 4, 0, 0, hot, stat, none)                            \
    REG(MPRC, 0x0407c, 1, 4, 0, 0, hot, stat, none)                            \
    REG(GPTC, 0x04080, 1, 4, 0, 0, hot, stat, none)                            \
    REG(GORCL, 0x04088, 1, 4, 0, 0, hot, stat_lo, none)                        \
    REG(GORCH, 0x0408c, 1, 4, 0, 0, hot, stat_hi, none)                        \
    REG(GOTCL, 0x04090, 1, 4, 0, 0, hot, stat_lo, none)                        \
    REG(GOTCH, 0x04094, 1, 4, 0, 0, hot, stat_hi, none)                        \
    REG(RNBC, 0x040a0, 1, 4, 0, 0, hot, stat, none)                            \
    REG(RUC, 0x040a4, 1, 4, 0, 0, hot, stat, none)                             \
    REG(RFC, 0x040a8, 1, 4, 0, 0, hot, stat, none)                             \
    REG(ROC, 0x040ac, 1, 4, 0, 0, hot, stat, none)                             \
    REG(RJC, 0x040b0, 1, 4, 0, 0, hot, stat, none)                             \
    REG(MGTPRC, 0x040b4, 1, 4, 0, 0, hot, stat, none)                          \
    REG(MGTPDC, 0x040b8, 1, 4, 0, 0, hot, stat, none)                          \
    REG(MGTPTC, 0x040bc, 1, 4, 0, 0, hot, stat, none)                          \
    REG(TORL, 0x040c0, 1, 4, 0, 0, hot, stat_lo, none)                         \
    REG(TORH, 0x040c4, 1, 4, 0, 0, hot, stat_hi, none)                         \
    REG(TOTL, 0x040c8, 1, 4, 0, 0, hot, stat_lo, none)                         \
    REG(TOTH, 0x040cc, 1, 4, 0, 0, hot, stat_hi, none)                         \
    REG(TPR, 0x040d0, 1, 4, 0, 0, hot, stat, none)                             \
    REG(TPT, 0x040d4, 1, 4, 0, 0, hot, stat, none)                             \
    REG(PTC64, 0x040d8, 1, 4, 0, 0, hot, stat, none)                           \
    REG(PTC127, 0x040dc, 1, 4, 0, 0, hot, stat, none)                          \
    REG(PTC255, 0x040e0, 1, 4, 0, 0, hot, stat, none)                          \
    REG(PTC511, 0x040e4, 1, 4, 0, 0, hot, stat, none)                          \
    REG(PTC1023, 0x040e8, 1, 4, 0, 0, hot, stat, none)                         \
    REG(PTC1522, 0x040ec, 1, 4, 0, 0, hot, stat, none)                         \
    REG(MPTC, 0x040f0, 1, 4, 0, 0, hot, stat, none)                            \
    REG(BPTC, 0x040f4, 1, 4, 0, 0, hot, stat, none)                            \
    REG(TSCTC, 0x040f8, 1, 4, 0, 0, hot, stat, none)                           \
    REG(TSCTFC, 0x040fc, 1, 4, 0, 0, hot, stat, none)                          \
    /* filters, SDM 13.4.49, 13.5 */                                           \
    REG(RXCSUM, 0x05000, 1, 4, 0, 0x000003ff, cold, plain, plain)              \
    REG(MTA, 0x05200, 128, 4, 0, 0xffffffff, cold, plain, filter)              \
    REG(RAL, 0x05400, 16, 8, 0, 0xffffffff, cold, plain, filter)               \
    REG(RAH, 0x05404, 16, 8, 0, 0x8003ffff, cold, plain, filter)               \
    REG(VFTA, 0x05600, 128, 4, 0, 0xffffffff, cold, plain, filter)             \
    /* wake-up and management, SDM 13.6: storage */                            \
    REG(WUC, 0x05800, 1, 4, 0, 0x0000000f, cold, plain, plain)                 \
    REG(WUFC, 0x05808, 1, 4, 0, 0x000f80ff, cold, plain, plain)                \
    REG(WUS, 0x05810, 1, 4, 0, 0, cold, plain, none)                           \
    REG(MANC, 0x05820, 1, 4, 0, 0xffffffff, cold, plain, plain)                \
    REG(IPAV, 0x05838, 1, 4, 0, 0x0001000f, cold, plain, plain)                \
    REG(IP4AT, 0x05840, 4, 8, 0, 0xffffffff, cold, plain, plain)               \
    REG(IP6AT, 0x05880, 4, 4, 0, 0xffffffff, cold, plain, plain)               \
    REG(WUPL, 0x05900, 1, 4, 0, 0, cold, plain, none)                          \
    REG(WUPM, 0x05a00, 32, 4, 0, 0, cold, plain, none)                         \
    REG(FFLT, 0x05f00, 4, 8, 0, 0x000007ff, cold, plain, plain)                \
    REG(FFMT, 0x09000, 128, 8, 0, 0x0000000f, cold, plain, plain)              \
    REG(FFVT, 0x09800, 128, 8, 0, 0xffffffff, cold, plain, plain)              \
    /* packet buffer memory, SDM 13.8: storage, survives a reset */            \
    REG(PBM, 0x10000, 16384, 4, 0, 0xffffffff, cold, plain, plain)             \
    /* where the 82542 had them, SDM 13.2 */                                   \
    ALIAS(0x00040, 32, 0x05400)  /* RA */                                      \
    ALIAS(0x00108, 1, 0x02820)   /* RDTR */                                    \
    ALIAS(0x00110, 1, 0x02800)   /* RDBAL */                                   \
    ALIAS(0x00114, 1, 0x02804)   /* RDBAH */                                   \
    ALIAS(0x00118, 1, 0x02808)   /* RDLEN */                                   \
    ALIAS(0x00120, 1, 0x02810)   /* RDH */                                     \
    ALIAS(0x00128, 1, 0x02818)   /* RDT */                                     \
    ALIAS(0x00160, 1, 0x02168)   /* FCRTH */                                   \
    ALIAS(0x00168, 1, 0x02160)   /* FCRTL */                                   \
    ALIAS(0x00200, 128, 0x05200) /* MTA */                                     \
    ALIAS(0x00420, 1, 0x03800)   /* TDBAL */                                   \
    ALIAS(0x00424, 1, 0x03804)   /* TDBAH */                                   \
    ALIAS(0x00428, 1, 0x03808)   /* TDLEN */                                   \
    ALIAS(0x00430, 1, 0x03810)   /* TDH */                                     \
    ALIAS(0x00438, 1, 0x03818)   /* TDT */                                     \
    ALIAS(0x00440, 1, 0x03820)   /* TIDV */                                    \
    ALIAS(0x00600, 128, 0x05600) /* VFTA */

enum e1000_offset {
#define REG(name, off, ...) name = off,
#define ALIAS(off, n, to)
    E1000_REGS(REG, ALIAS)
#undef REG
#undef ALIAS
};

#define E1000_MMIO_SIZE 0x20000
#define E1000_IO_SIZE 64

enum { /* SDM 13.4.1 */
       CTRL_FD = 1 << 0,
       CTRL_ASDE = 1 << 5,
       CTRL_SLU = 1 << 6,
       CTRL_SPEED = 3 << 8,
       CTRL_FRCSPD = 1 << 11,
       CTRL_FRCDPLX = 1 << 12,
       CTRL_RST = 1 << 26,
       CTRL_VME = 1 << 30,
};
#define CTRL_PHY_RST 0x80000000u
enum { CTRL_EXT_EE_RST = 1 << 13 };
enum { /* SDM 13.4.2 */
       STATUS_FD = 1 << 0,
       STATUS_LU = 1 << 1,
       STATUS_TXOFF = 1 << 4,
       STATUS_SPEED_SHIFT = 6,
       STATUS_ASDV_SHIFT = 8,
};
enum { /* SDM 13.4.17 */
       ICR_TXDW = 1 << 0,
       ICR_TXQE = 1 << 1,
       ICR_LSC = 1 << 2,
       ICR_RXSEQ = 1 << 3,
       ICR_RXDMT0 = 1 << 4,
       ICR_RXO = 1 << 6,
       ICR_RXT0 = 1 << 7,
       ICR_MDAC = 1 << 9,
       ICR_TXD_LOW = 1 << 15,
       ICR_SRPD = 1 << 16,
};
enum { /* SDM 13.4.22 */
       RCTL_EN = 1 << 1,
       RCTL_SBP = 1 << 2,
       RCTL_UPE = 1 << 3,
       RCTL_MPE = 1 << 4,
       RCTL_LPE = 1 << 5,
       RCTL_LBM = 3 << 6,
       RCTL_LBM_MAC = 1 << 6,
       RCTL_RDMTS_SHIFT = 8,
       RCTL_MO_SHIFT = 12,
       RCTL_BAM = 1 << 15,
       RCTL_BSIZE_SHIFT = 16,
       RCTL_VFE = 1 << 18,
       RCTL_CFIEN = 1 << 19,
       RCTL_CFI = 1 << 20,
       RCTL_DPF = 1 << 22,
       RCTL_PMCF = 1 << 23,
       RCTL_BSEX = 1 << 25,
       RCTL_SECRC = 1 << 26,
};
enum { TCTL_EN = 1 << 1, TCTL_PSP = 1 << 3, TCTL_SWXOFF = 1 << 22 };
#define RDTR_FPD 0x80000000u
#define RAH_AV 0x80000000u
enum { RXCSUM_PCSS = 0xff, RXCSUM_IPOFL = 1 << 8, RXCSUM_TUOFL = 1 << 9 };
enum { TXDCTL_LWTHRESH_SHIFT = 25 };

/* Transmit descriptor, second dword, as in all three layouts (SDM 3.3). */
#define TXD_EOP (1u << 24)
#define TXD_IFCS (1u << 25)
#define TXD_IC (1u << 26)  /* legacy */
#define TXD_TSE (1u << 26) /* context, data */
#define TXD_RS (1u << 27)
#define TXD_RPS (1u << 28)
#define TXD_DEXT (1u << 29)
#define TXD_VLE (1u << 30)
#define TXD_IDE (1u << 31)
#define TXD_DTYP (0xfu << 20)
#define TXD_DTYP_DATA (1u << 20)
#define TUCMD_TCP (1u << 24) /* context */
#define TUCMD_IP (1u << 25)  /* IPv4, else IPv6 */
enum { TXD_DD = 1, POPTS_IXSM = 1, POPTS_TXSM = 2 };

enum { /* receive descriptor status and errors, SDM 3.2.3 */
       RXD_DD = 1 << 0,
       RXD_EOP = 1 << 1,
       RXD_IXSM = 1 << 2,
       RXD_VP = 1 << 3,
       RXD_TCPCS = 1 << 5,
       RXD_IPCS = 1 << 6,
       RXD_ERR_TCPE = 1 << 5,
       RXD_ERR_IPE = 1 << 6,
};

enum { /* SDM 13.4.3 */
       EECD_SK = 1 << 0,
       EECD_CS = 1 << 1,
       EECD_DI = 1 << 2,
       EECD_DO = 1 << 3,
       EECD_REQ = 1 << 6,
       EECD_GNT = 1 << 7,
       EECD_PRES = 1 << 8,
       EERD_START = 1 << 0,
       EERD_DONE = 1 << 4,
};
#define EEPROM_WORDS 64

/* SDM 13.4.7 */
#define MDIC_OP_WRITE (1u << 26)
#define MDIC_OP_READ (2u << 26)
#define MDIC_R (1u << 28)
#define MDIC_I (1u << 29)
#define MDIC_E (1u << 30)

#endif
